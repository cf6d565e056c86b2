"""Whether a page of another origin asks: by the headers that browsers set and pages cannot."""

from collections.abc import Collection, Iterable


def foreign_page(method: str, headers: Iterable[tuple[bytes, bytes]], own: Collection[str]) -> str | None:
    """Name the foreign page behind a request.

    Pages name their origin when they send; the images, scripts and frames that they embed show by ``Sec-Fetch-Site``
    alone. A link that a person follows is no such request. Programs send neither header.

    Args:
        method: Of HTTP.
        headers: Of the request, names in lower case, as ASGI has them.
        own: Origins of the server's own pages, such as ``http://127.0.0.1:8000``, in lower case.

    Returns:
        Its origin, or ``another site``; None where no foreign page asks.
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
