"""Encodes pictures for pages and files; the same pixels give the same bytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image


def data_uri(data: bytes, kind: str) -> str:
    """Write an encoded picture as a ``data:`` URI.

    Args:
        data: The picture.
        kind: Its format, such as ``png``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def webp_uri(image: Image.Image, quality: int) -> str:
    """Encode a picture as a WebP ``data:`` URI."""
    held = io.BytesIO()
    image.save(held, "WEBP", quality=quality, method=4)
    return data_uri(held.getvalue(), "webp")


def png_uri(image: Image.Image) -> str:
    """Encode a picture as a PNG ``data:`` URI."""
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True)
    return data_uri(held.getvalue(), "png")


def save_figure(figure: Figure, out: Path | IO[bytes]) -> None:
    """Write a figure as a PNG, without the version of the software that drew it."""
    figure.savefig(out, format="png", metadata={"Software": None})
