import pytest

from protoquant.serving.http.names import allowed_name, is_loopback, name_of
from tests.serving.running import EVERYWHERE


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:8000", "localhost"),
        ("localhost:", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:10.0.0.7]:8000", "10.0.0.7"),
        ("birds.example.org.", "birds.example.org"),
        ("", None),
        ("::1", None),
        ("localhost:80:80", None),
        ("localhost:http", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("localhost localhost", None),
        ("localhost\u00e4", None),
    ],
)
def test_the_name_of_a_host_header(authority: str, name: str | None) -> None:
    assert name_of(authority) == name


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_this_machine_alone_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "0", "10.0.0.7", "myhost", "localhost.example.org", "127.1", ""])
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)


def test_a_name_that_is_allowed_has_no_scheme_and_no_port() -> None:
    assert [allowed_name(text) for text in ("Birds.Example.Org", "[FD00::1]")] == ["birds.example.org", "fd00::1"]
    for text in ("https://birds.example.org", "birds.example.org:443", "*", ""):
        with pytest.raises(ValueError, match="expected a name alone, such as "):
            allowed_name(text)
