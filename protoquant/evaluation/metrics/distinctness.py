"""Distinctness: whether prototypes differ from each other, by their codes and by the patches that show them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import sparse

from protoquant.evaluation.places.patches import Patches

ALIKE = 0.9
"""Two prototypes are near-duplicates if the cosine of their codes exceeds this."""
SHARED = 0.5
"""Two prototypes share their patches if more than this share of both their patches together is common."""
_ROWS = 1024


def nearest_other(codes: Float[np.ndarray, "p d"]) -> Float[np.ndarray, " p"]:
    """The largest cosine of each code with another; NaN where there is no other.

    Args:
        codes: Unit vectors.
    """
    p = len(codes)
    if p < 2:
        return np.full(p, np.nan)
    nearest = np.empty(p)
    for start in range(0, p, _ROWS):
        cosines = codes[start : start + _ROWS].astype(np.float64) @ codes.T.astype(np.float64)
        every = np.arange(len(cosines))
        cosines[every, start + every] = -np.inf
        nearest[start : start + _ROWS] = cosines.max(axis=1)
    return nearest.clip(-1.0, 1.0)


def alike_pairs(codes: Float[np.ndarray, "p d"], above: float = ALIKE) -> int:
    """Pairs of codes whose cosine exceeds a threshold.

    Args:
        codes: Unit vectors.
        above: The threshold.
    """
    found = 0
    for start in range(0, len(codes), _ROWS):
        cosines = codes[start : start + _ROWS].astype(np.float64) @ codes.T.astype(np.float64)
        found += int(np.triu(cosines > above, start + 1).sum())
    return found


def shared_patches(patches: Patches, t: int) -> Float[np.ndarray, " p"]:
    """The largest overlap of each prototype's patches with those of another: common patches over all of the two.

    Args:
        patches: The patches of each prototype, of distinct images.
        t: Cells of an image.

    Returns:
        Shares in [0, 1] (Jaccard index); NaN where there is no other prototype, or where a prototype has no patches.
    """
    p, counts = patches.p, patches.counts
    if p < 2:
        return np.full(p, np.nan)
    _, place = np.unique(patches.image.astype(np.int64) * t + patches.cell, return_inverse=True)
    held = sparse.csr_array((np.ones(len(patches)), (patches.owner, place)), shape=(p, max(len(place), 1)))
    common = (held @ held.T).tocoo()
    other = common.row != common.col
    row, col, both = common.row[other], common.col[other], common.data[other]
    largest = np.zeros(p)
    np.maximum.at(largest, row, both / (counts[row] + counts[col] - both))
    return np.where(counts == 0, np.nan, largest)
