"""Score maps as colour: dark where a prototype is not found in an image, glowing where it is."""

import numpy as np
from jaxtyping import Float
from PIL import Image

# Value, red, green, blue, opacity (all in [0, 1]): from a dark veil over nothing to a warm glow.
_STOPS = np.array(
    [
        [0.00, 0.04, 0.05, 0.12, 0.58],
        [0.15, 0.20, 0.06, 0.28, 0.52],
        [0.40, 0.60, 0.13, 0.28, 0.42],
        [0.70, 0.93, 0.42, 0.14, 0.34],
        [1.00, 1.00, 0.83, 0.30, 0.34],
    ]
)


def stretch(scores: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Divide a map of values >= 0 by its maximum; a map of zeros stays as it is."""
    high = float(scores.max())
    stretched: Float[np.ndarray, "h w"] = scores.astype(np.float64) / (high if high > 0 else 1.0)
    return stretched


def overlay(scores: Float[np.ndarray, "h w"], width: int, height: int) -> Image.Image:
    """Draw a score map as a translucent picture to lay over the image.

    The map is stretched to its own maximum, so colours compare the cells of one picture but not two pictures; it is
    interpolated between the centres of cells.

    Args:
        scores: Share of one prototype in the softmax over codes at every grid cell, in [0, 1].
        width: Width of the result, in pixels.
        height: Height of the result, in pixels.

    Returns:
        RGBA.
    """
    field = Image.fromarray(stretch(scores).astype(np.float32))
    smooth = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC)).clip(0.0, 1.0)
    channels = [np.interp(smooth, _STOPS[:, 0], _STOPS[:, channel]) for channel in range(1, 5)]
    return Image.fromarray((np.stack(channels, axis=-1) * 255).round().astype(np.uint8), "RGBA")
