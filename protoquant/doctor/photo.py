"""The little that is kept of each image: its numbers, a thumbnail of 32 x 32 pixels, and a hash of what it shows."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from protoquant.data.images import FORMATS
from protoquant.data.splits import SplitName
from protoquant.doctor.perceptual_hash import SIDE, perceptual_hash

if TYPE_CHECKING:
    from protoquant.data.checks import OpenedImage

_GREY = 3  # levels: JPEG gives grey photos this much colour
_EXIF_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, KeyError, IndexError, TypeError)


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """An image that decodes.

    Attributes:
        path: POSIX path relative to the folder of the images.
        class_name: Its class.
        split: Its split; None before splits are cut.
        sha256: Digest of the file's bytes.
        pixels: Digest of the decoded pixels.
        width: Pixels, upright.
        height: Pixels, upright.
        size: Bytes of the file.
        format: JPEG, PNG, ...
        mode: colour, grey, palette, transparent or CMYK; a colour file that shows only grey is grey.
        camera: Maker and model by EXIF.
        taken: Seconds of the moment of the photo by EXIF, by the camera's clock.
        thumb: The whole picture in 32 x 32 RGB pixels, aspect not kept.
        hash: 64 bits of what it shows; None for a picture without contrast.
    """

    path: str
    class_name: str
    split: SplitName | None
    sha256: str
    pixels: bytes
    width: int
    height: int
    size: int
    format: str
    mode: str
    camera: str | None
    taken: float | None
    thumb: UInt8[np.ndarray, "32 32 3"]
    hash: int | None


def describe(opened: OpenedImage) -> Photo:
    """Reduce an opened image to its photo."""
    checked = opened.checked
    thumb = np.asarray(opened.image.resize((SIDE, SIDE), Image.Resampling.BOX))
    with Image.open(io.BytesIO(opened.data), formats=[name for name in FORMATS if name in Image.OPEN]) as header:
        camera, taken = _exif(header)
        kind, mode = header.format or "", _mode(header, thumb)
    return Photo(
        path=checked.entry.image_id,
        class_name=checked.entry.class_name,
        split=checked.entry.split,
        sha256=checked.digest,
        pixels=checked.pixels,
        width=checked.width,
        height=checked.height,
        size=len(opened.data),
        format=kind,
        mode=mode,
        camera=camera,
        taken=taken,
        thumb=thumb,
        hash=perceptual_hash(thumb),
    )


def _mode(header: Image.Image, thumb: UInt8[np.ndarray, "32 32 3"]) -> str:
    if header.mode in {"CMYK", "YCCK"}:
        return "CMYK"
    if header.has_transparency_data:
        return "transparent"
    if header.mode == "P":
        return "palette"
    spread = thumb.max(axis=2).astype(int) - thumb.min(axis=2)
    return "grey" if header.mode[0] in "1LIF" or spread.max() <= _GREY else "colour"


def _exif(header: Image.Image) -> tuple[str | None, float | None]:
    """Camera and moment; None for what is absent or unreadable."""
    try:
        exif = header.getexif()
        names = (exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model))
        moment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
    except _EXIF_ERRORS:
        return None, None
    camera = " ".join(text for name in names if (text := str(name or "").strip("\0 ")))
    try:
        taken = datetime.strptime(str(moment).strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return camera or None, None
    return camera or None, taken
