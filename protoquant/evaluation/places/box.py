"""The boxes around grid cells in which place metrics look for parts, in pixels of the backbone's view."""

from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

Spans = list[tuple[float, float]]
Boxes = Float[np.ndarray, "t 4"]
"""(left, top, right, bottom) of every cell, row by row."""

_SHARE = 7
"""The fixed box is one seventh of the side: 32 of 224 pixels, as in PIP-Net."""
_FINE = 26
"""The grid of a ConvNeXt with smaller strides, for which PIP-Net places boxes half a step apart from the others."""


def fixed_boxes(grid: tuple[int, int], size: tuple[int, int]) -> Boxes:
    """The box of one seventh of the view's sides around every cell.

    It does not depend on the cell's own size, so models of different grids are measured alike. Boxes of neighbouring
    cells overlap where the grid has more than 7 cells to a side.

    Args:
        grid: (h, w), in cells.
        size: (height, width) of the view, in pixels.

    Source:
        PIP-Net's purity (Nauta et al., CVPR 2023), with its 224 read as the view's side. A grid of one cell, which its
        rule does not cover, has its box in the middle.
    """
    return _boxes(grid, size, _fixed_spans)


def cell_boxes(grid: tuple[int, int], size: tuple[int, int]) -> Boxes:
    """The cells themselves, which pictures of patches show.

    Args:
        grid: (h, w), in cells.
        size: (height, width) of the view, in pixels.
    """
    return _boxes(grid, size, lambda cells, side: [(side * n / cells, side * (n + 1) / cells) for n in range(cells)])


KINDS: Mapping[str, Callable[[tuple[int, int], tuple[int, int]], Boxes]] = MappingProxyType(
    {"fixed": fixed_boxes, "cell": cell_boxes}
)
"""Every place metric is measured with each of these: the box that compares models, and the cell alone."""


def region_around(row: int, col: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The region of 73 of 224 pixels around a pixel, cut at the view's edges.

    Args:
        row: Row of the pixel.
        col: Column of the pixel.
        size: (height, width) of the view, in pixels.

    Returns:
        (left, top, right, bottom), the edges of the outermost pixels: 73 pixels from left to right.

    Source:
        Huang et al., ICCV 2023: 36 pixels to each side.
    """
    (height, width), (down, across) = size, (round(36 * side / 224) for side in size)
    return (
        float(max(0, col - across)),
        float(max(0, row - down)),
        float(min(width, col + across + 1)),
        float(min(height, row + down + 1)),
    )


def _boxes(grid: tuple[int, int], size: tuple[int, int], spans: Callable[[int, int], Spans]) -> Boxes:
    rows, cols = (spans(cells, side) for cells, side in zip(grid, size, strict=True))
    return np.array([(left, top, right, bottom) for (top, bottom), (left, right) in product(rows, cols)])


def _fixed_spans(cells: int, side: int) -> Spans:
    """Where the boxes of a row of cells begin and end."""
    patch = round(side / _SHARE)
    if cells == 1:
        start = (side - patch) / 2
        return [(start, start + patch)]
    step = round((side - patch) / (cells - 1))
    starts = [max(0, (n - 1) * step + step // 2) if cells == _FINE else n * step for n in range(cells)]
    # The last box ends at the edge, and so does any that rounding of the step would push over it.
    starts = [min(start, side - patch) for start in starts[:-1]] + [side - patch]
    return [(float(start), float(start + patch)) for start in starts]
