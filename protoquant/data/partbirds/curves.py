"""Shapes as point arrays, and the frames (affine maps) that place them.

Every shape is an (n, 2) float array of x, y in its own frame; y points down, as in images.
"""

from dataclasses import dataclass
from math import cos, radians, sin, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """An affine map from local coordinates to pixels: p -> matrix @ p + offset.

    Args:
        matrix: Rows (a, b), (c, d) of the linear part.
        offset: Pixel position (x, y) of the local origin.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    offset: tuple[float, float]

    def __call__(self, points: ArrayLike) -> Points:
        """Map local points (n, 2) to pixels (n, 2)."""
        mapped: Points = np.asarray(points, dtype=np.float64) @ np.array(self.matrix).T + self.offset
        return mapped

    @property
    def scale(self) -> float:
        """Pixels per local unit (geometric mean of both axes)."""
        (a, b), (c, d) = self.matrix
        return sqrt(abs(a * d - b * c))

    def child(self, at: tuple[float, float], angle: float = 0.0, scale: float = 1.0, stretch: float = 1.0) -> "Frame":
        """A frame inside this one: at a local point, turned by `angle` degrees (clockwise), scaled, x stretched."""
        c, s = cos(radians(angle)), sin(radians(angle))
        local = np.array([[c * stretch, -s], [s * stretch, c]]) * scale
        (a, b), (e, f) = (np.array(self.matrix) @ local).tolist()
        x, y = self([at])[0].tolist()
        return Frame(((a, b), (e, f)), (x, y))

    def local(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map pixel positions back to local coordinates (the inverse map)."""
        (a, b), (c, d) = np.linalg.inv(np.array(self.matrix)).astype(np.float32)
        x, y = x - np.float32(self.offset[0]), y - np.float32(self.offset[1])
        return a * x + b * y, c * x + d * y


def smooth(points: ArrayLike, closed: bool = True, steps: int = 6) -> Points:
    """A Catmull-Rom curve through the points, `steps` points per span.

    Source:
        Catmull and Rom 1974, "A class of local interpolating splines" (uniform, tension 1/2).
    """
    knots: Points = np.asarray(points, dtype=np.float64)
    if closed:
        before, first, second, after = (np.roll(knots, shift, axis=0) for shift in (1, 0, -1, -2))
    else:
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
        before, first, second, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    u = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (part[:, None, :] for part in (before, first, second, after))
    curve = p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def ribbon(line: ArrayLike, widths: ArrayLike) -> Points:
    """The outline of a line whose width changes: n line points and n full widths give 2 n outline points."""
    centre: Points = np.asarray(line, dtype=np.float64)
    along = np.gradient(centre, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = 0.5 * np.asarray(widths, dtype=np.float64)[:, None]
    return np.concatenate([centre + normal * half, (centre - normal * half)[::-1]])


def tapered(line: ArrayLike, start: float, end: float, steps: int = 6) -> Points:
    """A smooth ribbon through the points, from width `start` to width `end`."""
    curve = smooth(line, closed=False, steps=steps)
    return ribbon(curve, np.linspace(start, end, len(curve)))


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 28) -> Points:
    """An ellipse around (x, y) with half axes rx and ry."""
    turn = np.linspace(0.0, 2.0 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def feather(
    length: float, width: float, *, point: float = 6.0, bend: float = 0.0, start: float = 0.0, end: float = 1.0
) -> Points:
    """The outline of a feather (or leaf) from the origin along -x, or of a band of it.

    Args:
        length: Length along the shaft.
        width: Greatest width.
        point: Tip: 2 is pointed, 8 is blunt.
        bend: Sideways drift of the tip in units of length.
        start: Where the band begins, in [0, 1] of the length.
        end: Where the band ends, in [0, 1].
    """
    t = np.linspace(start, end, 15)
    profile = np.clip(1.0 - t**point, 0.0, 1.0) ** 0.6 * (0.45 + 0.55 * np.minimum(t / 0.45, 1.0) ** 0.8)
    return ribbon(shaft(length, bend, t), width * profile)


def shaft(length: float, bend: float, at: ArrayLike) -> Points:
    """Points of a feather's axis at the shares `at` of its length."""
    t = np.asarray(at, dtype=np.float64)
    return np.stack([-length * t, bend * length * t**2], axis=1)
