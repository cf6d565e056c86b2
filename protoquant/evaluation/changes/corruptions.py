"""Common corruptions of an image, each in five severities, with the strengths of ImageNet-C.

The blur is in pixels of a view of 224 and grows with the view.

Source:
    Hendrycks and Dietterich, ICLR 2019; seven of its kinds that need no more than numpy and Pillow.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image

from protoquant.evaluation.changes.perturb import blur, jpeg, noise

SEVERITIES = (1, 2, 3, 4, 5)
_SIDE = 224

Corruption = Callable[[Image.Image, int, np.random.Generator], Image.Image]
"""Turns the backbone's view (RGB) into a corrupted copy; the severity is one of ``SEVERITIES``."""


def shot_noise(view: Image.Image, photons: float, rng: np.random.Generator) -> Image.Image:
    """Noise of counting light: each channel is a Poisson count, ``photons`` at full brightness."""
    return _picture(rng.poisson(_levels(view) * photons) / photons)


def brighter(view: Image.Image, more: float) -> Image.Image:
    """Raise the value (in hue, saturation, value) of every pixel by a share of the full range."""
    hue, saturation, value = view.convert("HSV").split()
    table = [min(255, round(level + 255 * more)) for level in range(256)]
    return Image.merge("HSV", (hue, saturation, value.point(table))).convert("RGB")


def flatter(view: Image.Image, share: float) -> Image.Image:
    """Keep only a share of the contrast: each channel moves to its mean."""
    levels = _levels(view)
    mean = levels.mean(axis=(0, 1), keepdims=True)
    return _picture((levels - mean) * share + mean)


def pixelated(view: Image.Image, share: float) -> Image.Image:
    """Shrink to a share of the sides and enlarge again, without smoothing."""
    small = view.resize([max(1, int(side * share)) for side in view.size], Image.Resampling.BOX)
    return small.resize(view.size, Image.Resampling.BOX)


def _by_severity(*strengths: float) -> Callable[[int], float]:
    return lambda severity: strengths[severity - 1]


_NOISE = _by_severity(0.08, 0.12, 0.18, 0.26, 0.38)
_PHOTONS = _by_severity(60, 25, 12, 5, 3)
_BLUR = _by_severity(1, 2, 3, 4, 6)
_QUALITY = _by_severity(25, 18, 15, 10, 7)
_BRIGHTER = _by_severity(0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST = _by_severity(0.4, 0.3, 0.2, 0.1, 0.05)
_PIXELS = _by_severity(0.6, 0.5, 0.4, 0.3, 0.25)

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian_noise": lambda view, severity, rng: noise(view, 255 * _NOISE(severity), rng),
        "shot_noise": lambda view, severity, rng: shot_noise(view, _PHOTONS(severity), rng),
        "gaussian_blur": lambda view, severity, _: blur(view, _BLUR(severity) * min(view.size) / _SIDE),
        "brightness": lambda view, severity, _: brighter(view, _BRIGHTER(severity)),
        "contrast": lambda view, severity, _: flatter(view, _CONTRAST(severity)),
        "pixelate": lambda view, severity, _: pixelated(view, _PIXELS(severity)),
        "jpeg_compression": lambda view, severity, _: jpeg(view, int(_QUALITY(severity))),
    }
)


def _levels(view: Image.Image) -> np.ndarray:
    return np.asarray(view, dtype=np.float64) / 255


def _picture(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * levels.clip(0, 1)).astype(np.uint8))
