"""Evidence beside the object: patches and contributions whose box holds hardly any of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from protoquant.evaluation.metrics.intervals import Statistic
from protoquant.evaluation.places.patches import Patches
from protoquant.features.object_cells import OFF


def off(object_share: Float[np.ndarray, "*any"]) -> Bool[np.ndarray, "*any"]:
    """Whether boxes are off the object.

    Args:
        object_share: The share of each box that the object, parts and body, fills.
    """
    beside: Bool[np.ndarray, "*any"] = object_share < OFF
    return beside


def mean_object_share(patches: Patches, object_share: Float[np.ndarray, "n t"]) -> Float[np.ndarray, " p"]:
    """The mean share of object in the boxes of each prototype's patches; NaN for a prototype without patches."""
    share = object_share[patches.image, patches.cell].astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, " p"] = np.bincount(patches.owner, share, minlength=patches.p) / patches.counts
    return mean


def evidence_off(
    scores: Float[np.ndarray, "n k"],
    cells: Int[np.ndarray, "n k"],
    weights: Float[np.ndarray, "n k"],
    object_share: Float[np.ndarray, "n t"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The contributions of each image to one class, and the part of them that comes from boxes off the object.

    Args:
        scores: Presence of every code.
        cells: The cell of that presence.
        weights: The head's weights of the class, such as the predicted one, for each image.
        object_share: The share of each box that the object fills.

    Returns:
        For each image the sum of the contributions from boxes off the object, and the sum of all.
    """
    contributions = scores.astype(np.float64) * weights
    beside = off(np.take_along_axis(object_share, cells, axis=1))
    return (contributions * beside).sum(axis=1), contributions.sum(axis=1)


def ratio_of(part: Float[np.ndarray, " n"], whole: Float[np.ndarray, " n"]) -> Statistic:
    """The sum of one value per image over the sum of another, as a statistic of positions; 0 where that sum is 0."""

    def statistic(positions: NDArray[np.int64]) -> NDArray[np.float64]:
        total = whole[positions].sum(axis=-1)
        ratio: NDArray[np.float64] = part[positions].sum(axis=-1) / np.where(total > 0, total, 1.0)
        return ratio

    return statistic
