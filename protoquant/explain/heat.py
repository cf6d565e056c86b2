"""Similarity maps as colour: dark where an image is unlike a prototype, glowing where it is like it."""

import numpy as np
from jaxtyping import Float
from PIL import Image

# Value, red, green, blue, opacity (all in [0, 1]): from a dark veil over nothing to a warm glow.
_STOPS = np.array(
    [
        [0.00, 0.04, 0.05, 0.12, 0.72],
        [0.35, 0.10, 0.07, 0.22, 0.60],
        [0.60, 0.55, 0.13, 0.25, 0.42],
        [0.80, 0.93, 0.42, 0.14, 0.34],
        [1.00, 1.00, 0.83, 0.30, 0.36],
    ]
)


def stretch(similarity: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Stretch a map to [0, 1], its least value to 0 and its largest to 1; a flat map becomes 0."""
    low, high = float(similarity.min()), float(similarity.max())
    if high <= low:
        return np.zeros_like(similarity, dtype=np.float64)
    stretched: Float[np.ndarray, "h w"] = (similarity.astype(np.float64) - low) / (high - low)
    return stretched


def overlay(similarity: Float[np.ndarray, "h w"], width: int, height: int) -> Image.Image:
    """Draw a similarity map as a translucent picture to lay over the image.

    The map is stretched within the image, so colours compare cells of one picture and not pictures; between the
    centres of cells it is interpolated.

    Args:
        similarity: Cosine of every grid cell with one prototype.
        width: Of the result, in pixels.
        height: Likewise.

    Returns:
        RGBA.
    """
    field = Image.fromarray(stretch(similarity).astype(np.float32))
    smooth = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC)).clip(0.0, 1.0)
    channels = [np.interp(smooth, _STOPS[:, 0], _STOPS[:, channel]) for channel in range(1, 5)]
    return Image.fromarray((np.stack(channels, axis=-1) * 255).round().astype(np.uint8), "RGBA")
