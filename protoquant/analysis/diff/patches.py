"""Pairs of prototypes of two models that share nearest training patches, whatever their feature spaces."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protoquant.features.backbone.preprocessing import Box
from protoquant.model.bundle import Bundle

LEAST = 2
"""Number of nearest training patches that two prototypes must share: one of eight may be chance."""
OVERLAP = 0.5
"""Share of the smaller of two patches that must lie in the other for both to count as one."""
_SIDE = 1000  # of the square on which the cells of both grids are laid out, as bundles keep no image sizes


@dataclass(frozen=True)
class Shared:
    """Pairs of prototypes with training patches in common.

    Attributes:
        before: Position among the prototypes of the first model.
        after: Position among those of the second.
        share: Patches in common, as a share of the shorter of the two lists, in (0, 1].
    """

    before: Int[np.ndarray, " e"]
    after: Int[np.ndarray, " e"]
    share: Float[np.ndarray, " e"]


@dataclass(frozen=True)
class _Patch:
    prototype: int
    box: Box


def share_patches(before: Bundle, after: Bundle) -> Shared | None:
    """Find the prototypes of two bundles that are nearest to the same training patches.

    Args:
        before: The first model.
        after: The second.

    Returns:
        Pairs that share at least ``LEAST`` patches, ordered; None where the two have no training image in common.
    """
    one, other = _patches(before), _patches(after)
    both = sorted(one.keys() & other.keys())
    if not both:
        return None
    images: dict[tuple[int, int], int] = defaultdict(int)
    for image_id in both:
        alike = {
            (mine.prototype, its.prototype)
            for mine in one[image_id]
            for its in other[image_id]
            if _overlap(mine.box, its.box) >= OVERLAP
        }
        for pair in alike:
            images[pair] += 1
    counts = _counts(before), _counts(after)
    rows = [(i, j, n / min(counts[0][i], counts[1][j])) for (i, j), n in sorted(images.items()) if n >= LEAST]
    i, j, share = zip(*rows, strict=True) if rows else ((), (), ())
    return Shared(np.array(i, dtype=np.int64), np.array(j, dtype=np.int64), np.array(share, dtype=np.float64))


def _patches(bundle: Bundle) -> dict[str, list[_Patch]]:
    """The nearest patches of all prototypes, by image."""
    places = {code: place for place, code in enumerate(bundle.prototypes.tolist())}
    preprocessing, table = bundle.backbone.preprocessing, bundle.provenance
    found: dict[str, list[_Patch]] = defaultdict(list)
    for code, image_id, row, col in zip(table["code"], table["image_id"], table["row"], table["col"], strict=True):
        box = preprocessing.cell_box(int(row), int(col), bundle.grid, _SIDE, _SIDE)
        found[str(image_id)].append(_Patch(places[int(code)], box))
    return found


def _counts(bundle: Bundle) -> list[int]:
    """Number of nearest patches named for each prototype, each of a different image."""
    sizes = bundle.provenance.groupby("code").size()
    return [int(sizes[code]) for code in bundle.prototypes.tolist()]


def _overlap(one: Box, other: Box) -> float:
    """Area in common, as a share of the smaller box; 0 for an empty one."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(across, 0.0) * max(down, 0.0) / smaller if smaller > 0 else 0.0
