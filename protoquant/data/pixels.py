"""Converts images of any mode and orientation to upright 8-bit RGB."""

import struct

import numpy as np
from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, KeyError, IndexError, TypeError)


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says.

    An image whose orientation is absent, unknown or unreadable stays as it is, since its pixels are intact.

    Args:
        image: A loaded image; TIFF files are turned by Pillow while loading and are not turned again.

    Returns:
        The same image, or a turned copy.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _EXIF_ERRORS:
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any colour mode to 8-bit RGB.

    Transparent pixels (alpha channel or transparent palette entry) are composited on white. 16-bit values keep their
    high byte. CMYK becomes RGB without a colour profile, and profiles of other modes are not applied.

    Args:
        image: A loaded image of any mode.

    Returns:
        An image of mode RGB and the same size.

    Raises:
        ValueError: Pixels are floats or 32-bit integers, whose range no file states.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return _high_byte(image).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> Image.Image:
    """Reduce 16-bit grey to 8 bits."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("pixels are floats or 32-bit integers, whose range is not stated")
    return Image.fromarray((values >> 8).astype(np.uint8))
