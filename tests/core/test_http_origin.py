"""Which requests foreign pages sent."""

import pytest

from protoquant.core.http_origin import foreign_page

OWN, OTHER = b"http://127.0.0.1:8000", b"http://127.0.0.1:9000"
LINK = [(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]
FRAME = [(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"iframe")]
IMAGE = [(b"sec-fetch-mode", b"no-cors"), (b"sec-fetch-dest", b"image")]
CROSS, NEXT_DOOR = (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-site")
SAME, TYPED = (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"none")
ANOTHER = "another site"


@pytest.mark.parametrize(
    ("method", "headers", "page"),
    [
        ("GET", [], None),  # a program
        ("POST", [], None),
        ("POST", [(b"origin", OWN)], None),
        ("POST", [(b"origin", OWN.upper()), SAME], None),
        ("GET", [SAME, *IMAGE], None),
        ("GET", [TYPED, *LINK], None),
        ("GET", [CROSS, *LINK], None),
        ("HEAD", [NEXT_DOOR, *LINK], None),
        ("POST", [(b"origin", OTHER)], OTHER.decode()),  # another port is another origin
        ("POST", [(b"origin", b"https" + OWN[4:])], "https://127.0.0.1:8000"),
        ("POST", [(b"origin", b"null")], "null"),
        ("POST", [(b"origin", b"")], ""),
        ("POST", [(b"origin", OWN), (b"origin", OTHER)], OTHER.decode()),
        ("GET", [(b"origin", OTHER), TYPED, *LINK], OTHER.decode()),
        ("GET", [CROSS, *IMAGE], ANOTHER),
        ("GET", [NEXT_DOOR, *IMAGE], ANOTHER),
        ("GET", [NEXT_DOOR], ANOTHER),
        ("GET", [CROSS, *FRAME], ANOTHER),
        ("POST", [CROSS, *LINK], ANOTHER),  # a form
        ("POST", [(b"origin", OWN), NEXT_DOOR], ANOTHER),
        ("GET", [SAME, CROSS], ANOTHER),
        ("GET", [CROSS, *LINK, *IMAGE], ANOTHER),
        ("GET", [(b"sec-fetch-site", b"unheard-of")], ANOTHER),
    ],
)
def test_a_page_of_another_origin_is_named(method: str, headers: list[tuple[bytes, bytes]], page: str | None) -> None:
    assert foreign_page(method, headers, {OWN.decode()}) == page
