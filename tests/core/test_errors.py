import pytest

from protoquant.core.errors import one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\n  two\tthree "), "one two three"),
        (KeyError("a\nb"), r"'a\nb'"),
        (ValueError(), ""),
        ("what a\r\nprogram said\n", "what a program said"),
    ],
)
def test_what_an_error_says_stands_on_one_line(error: object, said: str) -> None:
    assert one_line(error) == said
