"""Small changes of an image that keep its content: compression, blur, shift and noise."""

import io
from collections.abc import Callable, Mapping
from math import floor
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from protoquant.features.backbone.preprocessing import Preprocessing

SHIFT = 1 / 28
"""Shift as a share of the side that the backbone sees: 8 pixels of 224, a quarter of a cell in a grid of 7."""
BLUR = 1.0
"""Standard deviation of the blur, in pixels of what the backbone sees."""
NOISE = 8.0
"""Standard deviation of the noise, in levels of 256."""

Perturbation = Callable[[Image.Image, Preprocessing, np.random.Generator], Image.Image]


def jpeg(view: Image.Image, quality: int) -> Image.Image:
    """Write as JPEG and read again.

    Args:
        view: RGB.
        quality: 1 to 95.
    """
    held = io.BytesIO()
    view.save(held, "JPEG", quality=quality)
    held.seek(0)
    return Image.open(held).convert("RGB")


def blur(view: Image.Image, radius: float) -> Image.Image:
    """Blur by a Gaussian of this standard deviation, in pixels."""
    return view.filter(ImageFilter.GaussianBlur(radius))


def noise(view: Image.Image, spread: float, rng: np.random.Generator) -> Image.Image:
    """Add Gaussian noise to every channel of every pixel.

    Args:
        view: RGB.
        spread: Standard deviation, in levels of 256.
        rng: The only source of randomness.
    """
    levels = np.asarray(view, dtype=np.float64)
    noisy = np.rint(levels + rng.normal(0.0, spread, levels.shape)).clip(0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def shift(image: Image.Image, across: int, down: int) -> Image.Image:
    """Move the picture within its frame; the uncovered edges are filled by mirroring.

    Args:
        image: RGB.
        across: Pixels to the right, negative for left; less than the width.
        down: Pixels downwards, negative for upwards; less than the height.
    """
    pads = ((max(down, 0), max(-down, 0)), (max(across, 0), max(-across, 0)), (0, 0))
    wide = np.pad(np.asarray(image), pads, mode="symmetric")
    top, left = max(-down, 0), max(-across, 0)
    return Image.fromarray(np.ascontiguousarray(wide[top : top + image.height, left : left + image.width]))


def _shifted(image: Image.Image, preprocessing: Preprocessing, rng: np.random.Generator) -> Image.Image:
    """Move the crop to one of the four corners, by a fixed share of its sides."""
    left, top, right, bottom = preprocessing.frame(*image.size)
    across, down = (max(1, floor(SHIFT * side + 0.5)) for side in (right - left, bottom - top))
    signs = rng.choice([-1, 1], size=2)
    # A shift must stay below the side, even of an image that is one pixel wide.
    across, down = min(across, image.width - 1), min(down, image.height - 1)
    return preprocessing.apply(shift(image, int(signs[0]) * across, int(signs[1]) * down))


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "jpeg75": lambda image, preprocessing, _: jpeg(preprocessing.apply(image), 75),
        "jpeg50": lambda image, preprocessing, _: jpeg(preprocessing.apply(image), 50),
        "blur": lambda image, preprocessing, _: blur(preprocessing.apply(image), BLUR),
        "shift": _shifted,
        "noise": lambda image, preprocessing, rng: noise(preprocessing.apply(image), NOISE, rng),
    }
)
"""Each turns an upright RGB image into a changed copy of the backbone's view; strengths are in pixels of that view."""
