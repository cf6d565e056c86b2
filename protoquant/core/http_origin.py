"""Detects requests by pages of another origin, from headers that browsers set and pages cannot."""

from collections.abc import Collection, Iterable


def foreign_page(method: str, headers: Iterable[tuple[bytes, bytes]], own: Collection[str]) -> str | None:
    """Name the foreign page behind a request.

    A page that sends data names its origin; the images, scripts and frames that it embeds show only by
    ``Sec-Fetch-Site``. A link that a person follows does not count. Programs send neither header.

    Args:
        method: HTTP method.
        headers: Headers of the request, with names in lower case, as in ASGI.
        own: Origins of the server's own pages, such as ``http://127.0.0.1:8000``, in lower case.

    Returns:
        The page's origin, or ``another site``; None if no foreign page is behind the request.
    """
    known: dict[bytes, list[str]] = {}
    for name, value in headers:
        known.setdefault(name, []).append(value.decode("latin-1").lower())
    for origin in known.get(b"origin", []):
        if origin not in own:
            return origin
    followed = (
        method in ("GET", "HEAD")
        and known.get(b"sec-fetch-mode") == ["navigate"]
        and known.get(b"sec-fetch-dest") == ["document"]
    )
    if not followed and set(known.get(b"sec-fetch-site", [])) - {"same-origin", "none"}:
        return "another site"
    return None
