import pytest

from protoquant.core.machine.proxies import spare_loopback


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, None),
        ({"no_proxy": "a.org"}, "a.org"),
        ({"http_proxy": ""}, None),
        ({"http_proxy": "http://proxy:3128"}, "localhost,127.0.0.1,::1"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "a.org, localhost"}, "a.org,localhost,127.0.0.1,::1"),
        ({"ALL_PROXY": "socks5://proxy", "no_proxy": "*"}, "*"),
    ],
)
def test_servers_of_this_machine_are_asked_without_a_proxy(given: dict[str, str], hosts: str | None) -> None:
    spare_loopback(given)
    assert given.get("no_proxy") == hosts
