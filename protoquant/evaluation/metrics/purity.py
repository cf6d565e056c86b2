"""Purity: how often the patches of a prototype hold the same annotated part (PIP-Net)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from protoquant.evaluation.places.patches import Patches
from protoquant.evaluation.places.placed_parts import PlacedParts

WEIGHT = 1e-5
"""A prototype is measured if its largest weight exceeds this."""
RELATED = 0.5
"""A prototype is related to a part if its purity exceeds this."""
LEAST = 5
"""Patches in which a part must be visible, in the variant with a minimum count."""


@dataclass(frozen=True)
class Purity:
    """The purity of p prototypes.

    Attributes:
        purity: Share of the patches with the purest part visible that hold it (p), in [0, 1]; NaN where no part is
            visible often enough in any patch.
        part: The purest part (p), an index; -1 where there is none. Ties go to the part with more hits, then to the
            lower index.
        n: Patches in which that part is visible (p).
        hits: Patches that hold it (p).
        most: The same share for the part with most hits (p); NaN where no part is visible.
        filled: Mean share of the box that the purest part fills, over the patches in which it is visible (p); None
            where parts are points.
    """

    purity: Float[np.ndarray, " p"]
    part: Int[np.ndarray, " p"]
    n: Int[np.ndarray, " p"]
    hits: Int[np.ndarray, " p"]
    most: Float[np.ndarray, " p"]
    filled: Float[np.ndarray, " p"] | None

    @property
    def known(self) -> Float[np.ndarray, " q"]:
        """The purity of the prototypes that have one."""
        return self.purity[~np.isnan(self.purity)]

    @property
    def std(self) -> float | None:
        """Population standard deviation over the prototypes; None without any."""
        return float(self.known.std()) if len(self.known) else None

    @property
    def related(self) -> int:
        """Prototypes that show the same part in more than half of their patches."""
        return int((self.known > RELATED).sum())


def measured_prototypes(head: Float[np.ndarray, "c k"]) -> Int[np.ndarray, " p"]:
    """The codes that purity is measured of: those with a weight above 1e-5."""
    return np.flatnonzero(head.max(axis=0) > WEIGHT)


def purity(patches: Patches, placed: PlacedParts, least: int = 1) -> Purity:
    """Measure how often the patches of each prototype hold the same part.

    For each part, the share of hits among the patches in which it is visible; the purity of a prototype is the largest
    of these shares. It is conditional on visibility: a part that is visible in one patch and hit there gives 1, which
    ``least`` prevents.

    Args:
        patches: The patches of each prototype.
        placed: The parts in the boxes of all images, left and right merged.
        least: Patches in which a part must be visible to be the purest.

    Source:
        PIP-Net (Nauta et al., CVPR 2023), ``util/eval_cub_csv.py``.
    """
    visible = placed.visible[patches.image]
    seen = _sums(patches, visible)
    hits = _sums(patches, placed.hits[patches.image, patches.cell] & visible)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = hits / seen
    allowed = np.where(seen >= max(least, 1), shares, -1.0)
    purest = _first_best(allowed, hits)
    every = np.arange(patches.p)
    without = allowed[every, purest] < 0
    most = shares[every, hits.argmax(axis=1)]
    filled = None
    if placed.shares is not None:
        filled = _filled(patches, placed.shares, visible, purest)
        filled[without] = np.nan
    return Purity(
        purity=np.where(without, np.nan, allowed[every, purest]),
        part=np.where(without, -1, purest),
        n=np.where(without, 0, seen[every, purest]),
        hits=np.where(without, 0, hits[every, purest]),
        most=np.where(seen.any(axis=1), np.nan_to_num(most), np.nan),
        filled=filled,
    )


def holding(patches: Patches, placed: PlacedParts) -> Float[np.ndarray, " p"]:
    """The share of each prototype's patches that hold any annotated part; NaN for a prototype without patches."""
    held = placed.hits[patches.image, patches.cell].any(axis=1)
    with np.errstate(invalid="ignore"):
        return np.bincount(patches.owner, held, minlength=patches.p) / patches.counts


def _sums(patches: Patches, found: Bool[np.ndarray, "r m"]) -> Int[np.ndarray, "p m"]:
    """For each prototype and part, the patches where something holds."""
    sums = np.zeros((patches.p, found.shape[1]), dtype=np.int64)
    np.add.at(sums, patches.owner, found)
    return sums


def _first_best(shares: Float[np.ndarray, "p m"], hits: Int[np.ndarray, "p m"]) -> Int[np.ndarray, " p"]:
    """The part of the largest share; on a tie that with more hits, then the first."""
    best = shares == shares.max(axis=1, keepdims=True, initial=-1.0)
    return np.where(best, hits, -1).argmax(axis=1)


def _filled(
    patches: Patches,
    shares: Float[np.ndarray, "n t m"],
    visible: Bool[np.ndarray, "r m"],
    part: Int[np.ndarray, " p"],
) -> Float[np.ndarray, " p"]:
    own = part[patches.owner]
    counted = visible[np.arange(len(patches)), own]
    share = shares[patches.image, patches.cell, own]
    with np.errstate(invalid="ignore"):
        filled: Float[np.ndarray, " p"] = np.bincount(
            patches.owner[counted], share[counted], minlength=patches.p
        ) / np.bincount(patches.owner[counted], minlength=patches.p)
    return filled
