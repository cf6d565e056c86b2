"""Shapes as point arrays, and the frames (affine maps) that place them.

Every shape is an (n, 2) float array of x, y in its own frame; y points down, as in images.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import cos, radians, sin, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points: TypeAlias = NDArray[np.float64]
Plane: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """An affine map from local coordinates to pixels: x' = a x + b y + left, y' = c x + d y + top.

    Args:
        linear: The four numbers a, b, c, d.
        origin: Pixel position (left, top) of the local origin.
    """

    linear: tuple[float, float, float, float]
    origin: tuple[float, float]

    def __call__(self, points: ArrayLike) -> Points:
        """Map local points (..., 2) to pixels (..., 2)."""
        local = np.asarray(points, dtype=np.float64)
        a, b, c, d = self.linear
        mapped: Points = local[..., :1] * (a, c)
        mapped += local[..., 1:] * (b, d)
        mapped += self.origin
        return mapped

    @cached_property
    def scale(self) -> float:
        """Pixels per local unit (geometric mean of both axes)."""
        a, b, c, d = self.linear
        return sqrt(abs(a * d - b * c))

    def child(self, at: tuple[float, float], angle: float = 0.0, stretch: float = 1.0) -> "Frame":
        """A frame inside this one: at a local point, turned by `angle` degrees (clockwise), x stretched."""
        a, b, c, d = self.linear
        cosine, sine = cos(radians(angle)), sin(radians(angle))
        linear = (
            stretch * (a * cosine + b * sine),
            b * cosine - a * sine,
            stretch * (c * cosine + d * sine),
            d * cosine - c * sine,
        )
        left, top = self.origin
        return Frame(linear, (a * at[0] + b * at[1] + left, c * at[0] + d * at[1] + top))

    def local(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        """Map pixel positions back to local coordinates (the inverse map)."""
        a, b, c, d = (np.float32(number) for number in self.linear)
        x, y = x - np.float32(self.origin[0]), y - np.float32(self.origin[1])
        area = a * d - b * c
        u: Plane = np.asarray((d * x - b * y) / area, dtype=np.float32)
        v: Plane = np.asarray((a * y - c * x) / area, dtype=np.float32)
        return u, v


def smooth(points: ArrayLike, *, closed: bool = True, steps: int = 6) -> Points:
    """A Catmull-Rom curve through the points, `steps` points per span.

    Source:
        Catmull and Rom 1974, "A class of local interpolating splines" (uniform, tension 1/2).
    """
    knots: Points = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([knots[-1:], knots, knots[:2]] if closed else [knots[:1], knots, knots[-1:]])
    spans = (padded[:-3], padded[1:-2], padded[2:-1], padded[3:])
    curve = sum(weight * knot[:, None, :] for weight, knot in zip(_weights(steps), spans, strict=True))
    flat: Points = np.asarray(curve).reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


@lru_cache
def _weights(steps: int) -> Points:
    """The weight of each of a span's four knots at each of its steps (4, steps, 1)."""
    u = (np.arange(steps) / steps)[:, None]
    return 0.5 * np.stack([-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, -(u**2) + u**3])


def ribbon(line: ArrayLike, widths: ArrayLike) -> Points:
    """The outline of a line whose width changes: n line points and n full widths give 2 n outline points."""
    centre: Points = np.asarray(line, dtype=np.float64)
    normal = np.empty_like(centre)
    normal[1:-1] = centre[2:] - centre[:-2]
    normal[0], normal[-1] = centre[1] - centre[0], centre[-1] - centre[-2]
    length = np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-9)
    half = (0.5 * np.asarray(widths, dtype=np.float64) / length)[:, None] * (normal[:, ::-1] * (-1.0, 1.0))
    return np.concatenate([centre + half, (centre - half)[::-1]])


def tapered(line: ArrayLike, start: float, end: float, steps: int = 6) -> Points:
    """A smooth ribbon through the points, from width `start` to width `end`."""
    curve = smooth(line, closed=False, steps=steps)
    return ribbon(curve, np.linspace(start, end, len(curve)))


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """An ellipse around (x, y) with half axes rx and ry."""
    return _CIRCLE * (rx, ry) + (x, y)


_CIRCLE: Points = np.array([(cos(radians(15 * n)), sin(radians(15 * n))) for n in range(24)])


@dataclass(frozen=True)
class Feather:
    """A feather (or leaf) from the origin along -x.

    Args:
        length: Length along the shaft.
        width: Greatest width.
        point: Tip: 2 is pointed, 8 is blunt.
        bend: Sideways drift of the tip in units of length.
    """

    length: float
    width: float
    point: float = 6.0
    bend: float = 0.0

    def outline(self, start: float = 0.0, end: float = 1.0) -> Points:
        """The outline, or that of the band between two shares of the length: upper edge, then lower edge backwards."""
        return _vane(self, start, end)

    def shaft(self, start: float = 0.0, end: float = 0.95) -> Points:
        """Eight points along the middle, between two shares of the length."""
        return _axis(self, start, end)

    def barbs(self, slant: float, reach: float) -> Points:
        """Fine lines (12, 2, 2) from the shaft outwards: `slant` of the length back, `reach` of the width sideways."""
        return _barbs(self, slant, reach)


def _shaft(shape: Feather, t: Points) -> Points:
    return np.stack([-shape.length * t, shape.bend * shape.length * t**2], axis=1)


@lru_cache(maxsize=2048)
def _axis(shape: Feather, start: float, end: float) -> Points:
    return _shaft(shape, np.linspace(start, end, 8))


@lru_cache(maxsize=2048)
def _vane(shape: Feather, start: float, end: float) -> Points:
    t = np.linspace(start, end, 15)
    profile = np.clip(1.0 - t**shape.point, 0.0, 1.0) ** 0.6 * (0.45 + 0.55 * np.minimum(t / 0.45, 1.0) ** 0.8)
    return ribbon(_shaft(shape, t), shape.width * profile)


@lru_cache(maxsize=2048)
def _barbs(shape: Feather, slant: float, reach: float) -> Points:
    roots = _shaft(shape, np.repeat(np.linspace(0.22, 0.84, 6), 2))
    side = np.tile([-reach, reach], 6) * shape.width
    tips = roots + np.stack([np.full(12, -slant * shape.length), side], axis=1)
    return np.stack([roots, tips], axis=1)
