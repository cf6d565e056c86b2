"""The region of a prototype in an image: the grid cells around its peak that are drawn and returned as its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from protoquant.features.backbone.preprocessing import Box

HELD = 0.5
"""The share of what lies around the peak that a region holds: more inside than outside, without the faint fringe."""
FAINTEST = 0.1
"""A cell with less than this share of the peak's value does not lie around the peak."""


class CellRegion(NamedTuple):
    """A rectangle of grid cells: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    def box(self, of_cell: Callable[..., Box], grid: tuple[int, int], size: tuple[int, int]) -> Box:
        """The region in pixels.

        Args:
            of_cell: ``cell_box`` or ``cell_frame`` of the preprocessing.
            grid: (h, w), in cells.
            size: (width, height) of the original image after EXIF rotation, in pixels.

        Returns:
            (left, top, right, bottom) in pixels of that image, clipped as ``of_cell`` clips.
        """
        left, top, _, _ = of_cell(self.top, self.left, grid, *size)
        _, _, right, bottom = of_cell(self.bottom - 1, self.right - 1, grid, *size)
        return left, top, right, bottom


def peak_region(shares: Float[np.ndarray, "h w"], peak: tuple[int, int]) -> CellRegion:
    """The smallest rectangle of cells with the peak in it that holds half of what lies around the peak.

    Around the peak lie the cells that are joined to it edge by edge and have at least a tenth of its value each; all
    other cells count 0, because a presence is a maximum and says nothing of a second place far away. Of rectangles
    with equally few cells that hold at least ``HELD`` of the sum, the one with the largest sum is taken, then the
    first in row-major order of (top, left, bottom, right).

    Args:
        shares: Share of one prototype in the softmax over codes at every cell, in [0, 1].
        peak: (row, col) of the largest share.
    """
    around = _around(shares, peak)
    rows, cols = np.flatnonzero(around.any(axis=1)), np.flatnonzero(around.any(axis=0))
    top, left, bottom, right = int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1
    values = np.where(around, shares, 0.0)[top:bottom, left:right]
    found = _smallest(values, (peak[0] - top, peak[1] - left))
    return CellRegion(found.top + top, found.left + left, found.bottom + top, found.right + left)


def _around(shares: Float[np.ndarray, "h w"], peak: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Grow from the peak, one cell to each side at a time."""
    strong = shares >= FAINTEST * shares[peak]
    grown = np.zeros(shares.shape, dtype=np.bool_)
    grown[peak] = True
    while True:
        around = grown
        grown = around.copy()
        grown[1:] |= around[:-1]
        grown[:-1] |= around[1:]
        grown[:, 1:] |= around[:, :-1]
        grown[:, :-1] |= around[:, 1:]
        grown &= strong
        if np.array_equal(grown, around):
            return around


def _smallest(values: Float[np.ndarray, "h w"], peak: tuple[int, int]) -> CellRegion:
    """Compare all rectangles that contain the peak, by differences of a table of sums."""
    (h, w), (row, col) = values.shape, peak
    # Values of float32 that differ by a factor of ten at most add up exactly in float64, so ties are true ties.
    table = np.zeros((h + 1, w + 1))
    table[1:, 1:] = values.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    top, left, bottom, right = np.ix_(
        np.arange(row + 1), np.arange(col + 1), np.arange(row + 1, h + 1), np.arange(col + 1, w + 1)
    )
    sums = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    cells = np.where(sums >= HELD * table[-1, -1], (bottom - top) * (right - left), h * w + 1)
    first = np.where(cells == cells.min(), sums, -1.0).argmax()
    places = np.unravel_index(first, sums.shape)
    axes = zip((top, left, bottom, right), places, strict=True)
    return CellRegion(*(int(axis.ravel()[place]) for axis, place in axes))
