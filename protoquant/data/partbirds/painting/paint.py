"""Painting: a tile is drawn with anti-aliased paths, shaded as a layer, and laid on the canvas.

Everything here is local to a layer: no layer depends on another, so that a scene without one of them is identical
elsewhere.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import aggdraw
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter1d

from protoquant.data.partbirds.painting.curves import Plane, Points
from protoquant.data.partbirds.painting.palette import Colour, eight_bit

Mask: TypeAlias = NDArray[np.bool_]


def blurred(plane: Plane, radius: float) -> Plane:
    """Blur twice by a box of `radius` pixels to each side; outside, the edge pixels repeat."""
    width = 2 * max(round(radius), 1) + 1
    for axis in (0, 1, 0, 1):
        plane = uniform_filter1d(plane, width, axis=axis, mode="nearest")
    return plane


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Plane:
    """Smooth noise in about [-1, 1]: `cells` random values per side, resized to `shape` by bicubic interpolation."""
    seeds = rng.uniform(-1.0, 1.0, size=cells).astype(np.float32)
    image = Image.fromarray(seeds).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


@dataclass
class Layer:
    """A shaded piece of the picture inside a box of the canvas.

    Args:
        left: Column of the box's first pixel.
        top: Row of the box's first pixel.
        alpha: Coverage (h, w) in [0, 1].
        colour: Colours (h, w, 3) in [0, 1].
        canvas: Side of the canvas.
    """

    left: int
    top: int
    alpha: Plane
    colour: Plane
    canvas: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The box as slices (rows, columns) of the canvas."""
        h, w = self.alpha.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    def pixels(self) -> tuple[Plane, Plane]:
        """Canvas positions x (1, w) and y (h, 1) of the pixel centres."""
        rows, columns = self.window
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] + np.float32(0.5)
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
        return x, y

    def scaled(self, factor: Plane) -> None:
        """Multiply the colours by a factor per pixel (h, w)."""
        self.colour *= factor[:, :, None]

    def rounded(self, light: tuple[float, float], radius: float, depth: float = 1.0) -> None:
        """Shade as a rounded body lit from `light`, the direction (x, y) towards the light in the picture.

        Args:
            light: Unit vector in pixels; y < 0 is from above.
            radius: How far in from the edge the surface curves, in pixels.
            depth: Strength of the shading, 0 is none.
        """
        height = np.sqrt(blurred(self.alpha, radius) + np.float32(0.02)) * np.float32(radius * 2.2)
        down, right = np.gradient(height)
        slope = (-right * np.float32(light[0]) - down * np.float32(light[1])) * np.float32(0.9) + np.float32(0.75)
        lit = slope / np.sqrt(1.0 + right**2 + down**2)
        self.scaled((1.0 + depth * (np.clip(lit, -0.5, 1.3) - 0.75)).astype(np.float32))

    def rimmed(self, strength: float, radius: float = 1.0) -> None:
        """Darken a thin rim inside the edge, in place of a drawn outline."""
        inside = np.clip(2.0 * blurred(self.alpha, radius) - 1.0, 0.0, 1.0)
        self.scaled((1.0 - strength * (1.0 - inside)).astype(np.float32))

    def shadow(self, shift: tuple[int, int], radius: float, strength: float) -> "Layer":
        """The soft shadow this layer throws on the canvas, shifted by (x, y) pixels; black, of at most `strength`.

        Alpha up to 1/500 is cut to zero, so that the shadow is bounded.
        """
        margin = 2 * max(round(radius), 1)
        soft = blurred(np.pad(self.alpha, margin), radius) * np.float32(strength)
        top, left = self.top + shift[1] - margin, self.left + shift[0] - margin
        cut_top, cut_left = max(-top, 0), max(-left, 0)
        rows, columns = max(self.canvas - top, 0), max(self.canvas - left, 0)
        alpha = np.where(soft > 0.002, soft, np.float32(0.0))[cut_top:rows, cut_left:columns]
        return Layer(left + cut_left, top + cut_top, alpha, np.zeros((*alpha.shape, 3), dtype=np.float32), self.canvas)


class Tile:
    """A drawing of one thing: filled shapes and strokes, and the coverage they make together.

    Args:
        size: Side of the canvas in pixels.
        base: Colour under the first shape; it shows only through soft edges.
    """

    def __init__(self, size: int, base: Colour) -> None:
        self._mask = Image.new("L", (size, size), 0)
        self._colour = Image.new("RGB", (size, size), eight_bit(base))
        self._on_mask = aggdraw.Draw(self._mask)
        self._on_colour = aggdraw.Draw(self._colour)

    def fill(self, points: Points, colour: Colour, *, edge: Colour | None = None, edge_width: float = 1.0) -> None:
        """Fill a closed shape; it becomes part of the coverage. `edge` draws a half-transparent edge inside it."""
        flat = points.ravel().tolist()
        self._on_mask.polygon(flat, aggdraw.Brush("white"))
        pen = aggdraw.Pen(eight_bit(edge), edge_width, 110) if edge is not None else None
        brush = aggdraw.Brush(eight_bit(colour))
        self._on_colour.polygon(flat, *((pen, brush) if pen is not None else (brush,)))

    def detail(self, points: Points, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a shape that colours what is there and adds no coverage."""
        self._on_colour.polygon(points.ravel().tolist(), aggdraw.Brush(eight_bit(colour), round(255 * opacity)))

    def stroke(self, points: Points, colour: Colour, width: float, opacity: float = 1.0) -> None:
        """Draw an open line (n, 2) that colours what is there and adds no coverage."""
        self._on_colour.line(points.ravel().tolist(), aggdraw.Pen(eight_bit(colour), width, round(255 * opacity)))

    def strokes(self, lines: Points, colour: Colour, width: float, opacity: float = 1.0) -> None:
        """Draw many lines (m, n, 2) at once."""
        path = aggdraw.Path()
        for (x, y), *rest in lines.tolist():
            path.moveto(x, y)
            for u, v in rest:
                path.lineto(u, v)
        self._on_colour.path(path, aggdraw.Pen(eight_bit(colour), width, round(255 * opacity)))

    def drawn(self) -> Plane:
        """All colours drawn so far (size, size, 3), whatever the coverage."""
        self._on_colour.flush()
        return np.asarray(self._colour, dtype=np.float32) / np.float32(255.0)

    def layer(self) -> Layer | None:
        """The finished drawing cut to its coverage and one pixel around it, or None when it lies outside the canvas."""
        self._on_mask.flush()
        self._on_colour.flush()
        tight = self._mask.getbbox()
        if tight is None:
            return None
        side = self._mask.width
        box = (max(tight[0] - 1, 0), max(tight[1] - 1, 0), min(tight[2] + 1, side), min(tight[3] + 1, side))
        alpha = np.asarray(self._mask.crop(box), dtype=np.float32) / np.float32(255.0)
        colour = np.asarray(self._colour.crop(box), dtype=np.float32) / np.float32(255.0)
        return Layer(box[0], box[1], alpha, colour, side)


@dataclass
class Canvas:
    """The picture in progress, the owner visible at each pixel, and the pixels that each owner has touched.

    Args:
        colour: Colours (h, w, 3); layers are laid on it in place.
    """

    colour: Plane
    owner: NDArray[np.int16] = field(init=False)
    _touched: dict[int, Mask] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Start with no owner visible anywhere (owner -1)."""
        self.owner = np.full(self.colour.shape[:2], -1, dtype=np.int16)

    def lay(self, layer: Layer, owner: int) -> None:
        """Blend a layer over the picture; where it covers more than half, `owner` becomes visible."""
        window = layer.window
        self.colour[window] += layer.alpha[:, :, None] * (layer.colour - self.colour[window])
        self.owner[window][layer.alpha > 0.5] = owner
        self.reach(owner)[window] |= layer.alpha > 0.0

    def shade(self, shadow: Layer, owner: int, onto: Mask) -> None:
        """Darken the pixels in `onto` (h, w) by the alpha of a shadow that `owner` throws."""
        here = onto[shadow.window] & (shadow.alpha > 0.0)
        self.colour[shadow.window] *= (1.0 - shadow.alpha * here)[:, :, None]
        self.reach(owner)[shadow.window] |= here

    def shade_together(self, shadows: list[tuple[Layer, int]], onto: Mask) -> None:
        """Darken by the shadows of several owners as if by one: where they overlap, the deepest counts."""
        deepest: Plane = np.zeros(self.owner.shape, dtype=np.float32)
        for shadow, owner in shadows:
            here = onto[shadow.window] & (shadow.alpha > 0.0)
            deepest[shadow.window] = np.maximum(deepest[shadow.window], shadow.alpha * here)
            self.reach(owner)[shadow.window] |= here
        self.colour *= (1.0 - deepest)[:, :, None]

    def reach(self, owner: int) -> Mask:
        """Every pixel that `owner` has changed so far (h, w)."""
        return self._touched.setdefault(owner, np.zeros(self.owner.shape, dtype=np.bool_))
