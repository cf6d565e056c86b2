"""Colours: named plumage colours and the few operations on them."""

import colorsys
from typing import TypeAlias

Colour: TypeAlias = tuple[float, float, float]
"""Red, green, blue, each in [0, 1], as encoded for the screen."""

NAMED: dict[str, Colour] = {
    "crimson": (0.76, 0.13, 0.17),
    "coral": (0.91, 0.43, 0.32),
    "amber": (0.93, 0.60, 0.14),
    "gold": (0.95, 0.79, 0.27),
    "moss": (0.42, 0.53, 0.20),
    "teal": (0.10, 0.50, 0.49),
    "azure": (0.19, 0.49, 0.80),
    "indigo": (0.23, 0.25, 0.58),
    "violet": (0.53, 0.31, 0.63),
    "rose": (0.85, 0.50, 0.60),
    "chestnut": (0.52, 0.27, 0.15),
    "slate": (0.36, 0.41, 0.48),
    "ivory": (0.94, 0.90, 0.80),
    "ink": (0.13, 0.13, 0.17),
}

PLUMAGES: tuple[tuple[Colour, Colour], ...] = (
    ((0.50, 0.44, 0.38), (0.90, 0.86, 0.78)),
    ((0.60, 0.50, 0.36), (0.94, 0.88, 0.74)),
    ((0.45, 0.47, 0.50), (0.88, 0.88, 0.87)),
    ((0.52, 0.52, 0.38), (0.90, 0.89, 0.74)),
    ((0.56, 0.42, 0.34), (0.93, 0.82, 0.72)),
)
"""(back, belly) tones of the body. They say nothing about the class."""


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Blend two colours: `one` at share 0, `other` at share 1."""
    (a, b, c), (d, e, f) = one, other
    return a + (d - a) * share, b + (e - b) * share, c + (f - c) * share


def darker(colour: Colour, share: float) -> Colour:
    """Move a colour towards a warm black by `share` in [0, 1]."""
    return mix(colour, (0.06, 0.04, 0.05), share)


def lighter(colour: Colour, share: float) -> Colour:
    """Move a colour towards a warm white by `share` in [0, 1]."""
    return mix(colour, (1.0, 0.98, 0.94), share)


def shifted(colour: Colour, hue: float, saturation: float, value: float) -> Colour:
    """Turn the hue by `hue` (1 is the full circle) and scale saturation and value."""
    h, s, v = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb((h + hue) % 1.0, min(s * saturation, 1.0), min(v * value, 1.0))


def eight_bit(colour: Colour) -> tuple[int, int, int]:
    """The colour as three integers in 0..255; no operation here leaves [0, 1]."""
    red, green, blue = colour
    return round(255 * red), round(255 * green), round(255 * blue)
