"""Matching the prototypes of two models: which are kept, moved, new and lost."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from protoquant.analysis.diff.patches import Shared, share_patches
from protoquant.codebook.codebook import Space
from protoquant.model.bundle import Bundle

KEPT = 0.98
"""Cosine of two codes from which a prototype counts as kept: at most 11.5 degrees apart."""
MOVED = 0.7
"""Cosine of two codes from which a prototype may count as moved: at most 45.6 degrees apart."""
KEPT_PATCHES = 0.5
"""Share of nearest training patches in common from which prototypes of different feature spaces count as kept."""
_SAME_SPACE = 0.05
_BLOCK = 1024
"""Rows of cosines in memory at once."""

Verdict = Literal["kept", "moved"]
Measure = Literal["cosine", "patches", "none"]


@dataclass(frozen=True)
class PrototypePair:
    """A prototype of the first model and its partner in the second.

    Attributes:
        before: Code in the first model.
        after: Code in the second.
        verdict: kept or moved.
        similarity: Cosine of the codes, or the share of nearest training patches in common.
    """

    before: int
    after: int
    verdict: Verdict
    similarity: float


@dataclass(frozen=True)
class Matching:
    """The matched prototypes of two models.

    Attributes:
        measure: Measure of similarity: cosine of the codes, patches (training patches in common), or none.
        note: Reason why the measure is not the cosine; empty where it is.
        pairs: Kept and moved prototypes, in order of their code in the first model.
        lost: Codes of the first model without a partner, in order; empty with measure none.
        new: Codes of the second model without a partner, likewise.
    """

    measure: Measure
    note: str
    pairs: tuple[PrototypePair, ...]
    lost: tuple[int, ...]
    new: tuple[int, ...]

    def verdict(self, name: Verdict) -> tuple[PrototypePair, ...]:
        """The pairs of one verdict."""
        return tuple(pair for pair in self.pairs if pair.verdict == name)


@dataclass(frozen=True)
class _Edges:
    """Pairs of nearby rows: their cosine, and the highest cosine of either row with another row of its own side."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    cosines: NDArray[np.float64]
    chance: NDArray[np.float64]


def match(before: Bundle, after: Bundle) -> Matching:
    """Match the prototypes of two bundles, each with one partner at most.

    In one feature space (same backbone, weights and feature norm), codes are compared: pairs with a cosine of at least
    ``KEPT`` are kept. Of the others, pairs with at least ``MOVED`` are moved if the two are closer to each other than
    either is to any other prototype of its own model: unlike parts of one model show how close chance comes.
    In different feature spaces, prototypes are matched by the nearest training patches that they share.

    Args:
        before: The first model.
        after: The second.
    """
    note = other_space(before, after)
    if not note:
        codes = [bundle.codebook.codes[bundle.prototypes] for bundle in (before, after)]
        found = match_codes(_unit(codes[0]), _unit(codes[1]))
        return _named(before, after, "cosine", "", found)
    shared = share_patches(before, after)
    if shared is None:
        note += "; nor have they a training image in common, so prototypes cannot be matched"
        return Matching("none", note, (), (), ())
    note += "; prototypes are matched by the training patches that both are nearest to"
    return _named(before, after, "patches", note, _match_patches(shared))


def other_space(before: Bundle, after: Bundle) -> str:
    """The reason why codes of two bundles cannot be compared; empty where they can.

    Means and matrices of a feature norm may differ by 5 % of their size: a few train images more or less do not make
    another space.
    """
    one, other = before.backbone, after.backbone
    if (one.name, one.weights.digest) != (other.name, other.weights.digest):
        names = f"{one.name} and {other.name}" if one.name != other.name else f"{one.name} with other weights"
        return f"the backbones differ ({names}), so codes cannot be compared"
    layers = [" and ".join(bundle.layers) for bundle in (one, other)]
    if layers[0] != layers[1]:
        return f"the layers of {one.name} differ ({layers[0]}, {layers[1]}), so codes cannot be compared"
    if before.codebook.layers != after.codebook.layers:
        return "the layers have other weights or grids, so codes cannot be compared"
    norms = before.codebook.norm, after.codebook.norm
    if norms[0].name != norms[1].name:
        return f"the feature norms differ ({norms[0].name} and {norms[1].name}), so codes cannot be compared"
    if not _near(*norms):
        return f"the feature norms {norms[0].name} were fitted to unlike tokens, so codes cannot be compared"
    return ""


def match_codes(
    before: Float[np.ndarray, "p d"], after: Float[np.ndarray, "q d"]
) -> list[tuple[int, int, Verdict, float]]:
    """Match unit vectors; the order of rows has no effect, and swapping the two sides swaps the pairs.

    Args:
        before: Codes of the first model.
        after: Codes of the second.

    Returns:
        (row before, row after, verdict, cosine) of every pair.
    """
    orders = [np.lexsort(codes.T[::-1]) for codes in (before, after)]
    rows = [codes[order] for codes, order in zip((before, after), orders, strict=True)]
    turned = (len(rows[0]), rows[0].tobytes()) > (len(rows[1]), rows[1].tobytes())
    one, other = (1, 0) if turned else (0, 1)
    found = _in_steps(_edges(rows[one], rows[other]), _equal(rows[one], rows[other]))
    pairs = [(int(orders[one][i]), int(orders[other][j]), verdict, cosine) for i, j, verdict, cosine in found]
    return [(j, i, verdict, cosine) for i, j, verdict, cosine in pairs] if turned else pairs


def assign(
    left: Int[np.ndarray, " e"], right: Int[np.ndarray, " e"], gains: Float[np.ndarray, " e"]
) -> Int[np.ndarray, " m"]:
    """Choose edges with the highest sum of gains so that no node has two.

    Args:
        left: Node on the left of every edge.
        right: Node on the right.
        gains: Gain of every edge, > 0.

    Returns:
        Positions of the chosen edges, ascending.
    """
    if not len(gains):
        return np.zeros(0, dtype=np.int64)
    lefts, i = np.unique(left, return_inverse=True)
    rights, j = np.unique(right, return_inverse=True)
    size = len(lefts) + len(rights)
    # Edges fall into groups that share no node, so each is a small dense problem however many prototypes there are.
    graph = coo_array((np.ones(len(gains)), (i, j + len(lefts))), shape=(size, size))
    group = connected_components(graph, directed=False)[1][i]
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return np.sort(np.concatenate([part[_assign_group(i[part], j[part], gains[part])] for part in parts]))


def _assign_group(i: NDArray[np.int64], j: NDArray[np.int64], gains: NDArray[np.float64]) -> NDArray[np.int64]:
    lefts, i = np.unique(i, return_inverse=True)
    rights, j = np.unique(j, return_inverse=True)
    table = np.zeros((len(lefts), len(rights)))
    table[i, j] = gains
    places = np.full(table.shape, -1)
    places[i, j] = np.arange(len(gains))
    chosen: NDArray[np.int64] = places[linear_sum_assignment(table, maximize=True)]
    return chosen[chosen >= 0]


def _in_steps(edges: _Edges, equal: list[tuple[int, int]]) -> list[tuple[int, int, Verdict, float]]:
    """Match equal codes first, in order, then the other kept prototypes, then those that moved among the rest."""
    left, right, cosines = edges.left, edges.right, edges.cosines
    found: list[tuple[int, int, Verdict, float]] = [(i, j, "kept", 1.0) for i, j in equal]
    taken = np.array(equal, dtype=np.int64).reshape(-1, 2)
    free = ~(np.isin(left, taken[:, 0]) | np.isin(right, taken[:, 1]))
    steps: tuple[tuple[Verdict, NDArray[np.bool_]], ...] = (
        ("kept", cosines >= KEPT),
        ("moved", cosines > edges.chance),
    )
    for verdict, allowed in steps:
        places = np.flatnonzero(allowed & free)
        chosen = places[assign(left[places], right[places], cosines[places])]
        found += [(int(left[e]), int(right[e]), verdict, float(cosines[e])) for e in chosen]
        free &= ~(np.isin(left, left[chosen]) | np.isin(right, right[chosen]))
    return found


def _equal(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair equal codes in order, so that a model with duplicate codes still matches itself."""
    held: dict[bytes, list[int]] = defaultdict(list)
    for j, code in reversed(list(enumerate(other))):
        held[code.tobytes()].append(j)
    return [(i, found.pop()) for i, code in enumerate(one) if (found := held.get(code.tobytes()))]


def _edges(one: NDArray[np.float64], other: NDArray[np.float64]) -> _Edges:
    """All pairs with a cosine of at least ``MOVED``."""
    found = []
    for start in range(0, max(len(one), 1), _BLOCK):
        cosines = (one[start : start + _BLOCK] @ other.T).clip(-1.0, 1.0)
        i, j = np.nonzero(cosines >= MOVED)
        found.append((i + start, j, cosines[i, j]))
    left, right, cosines = (np.concatenate(part) for part in zip(*found, strict=True))
    return _Edges(left, right, cosines, np.maximum(_closest(one)[left], _closest(other)[right]))


def _closest(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each code with the nearest other one of its model; -1 where there is no other."""
    nearest = np.full(len(codes), -1.0)
    for start in range(0, len(codes), _BLOCK):
        cosines = codes[start : start + _BLOCK] @ codes.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1.0
        nearest[start : start + _BLOCK] = cosines.max(axis=1)
    return nearest


def _match_patches(shared: Shared) -> list[tuple[int, int, Verdict, float]]:
    chosen = assign(shared.before, shared.after, shared.share)
    return [
        (
            int(shared.before[e]),
            int(shared.after[e]),
            "kept" if shared.share[e] >= KEPT_PATCHES else "moved",
            float(shared.share[e]),
        )
        for e in chosen
    ]


def _named(
    before: Bundle, after: Bundle, measure: Measure, note: str, found: list[tuple[int, int, Verdict, float]]
) -> Matching:
    """Build the matching, with codes instead of rows."""
    codes = before.prototypes.tolist(), after.prototypes.tolist()
    pairs = [PrototypePair(codes[0][i], codes[1][j], verdict, value) for i, j, verdict, value in found]
    rest = set(codes[0]) - {pair.before for pair in pairs}, set(codes[1]) - {pair.after for pair in pairs}
    ordered = tuple(sorted(pairs, key=lambda pair: pair.before))
    return Matching(measure, note, ordered, tuple(sorted(rest[0])), tuple(sorted(rest[1])))


def _near(one: Space, other: Space) -> bool:
    others = other.tensors()
    for name, first in one.tensors().items():
        second = others[name]
        if first.shape != second.shape:
            return False
        scale = torch.linalg.vector_norm(first) + torch.linalg.vector_norm(second)
        if float(torch.linalg.vector_norm(first - second)) > _SAME_SPACE * float(scale) / 2:
            return False
    return True


def _unit(codes: Float[torch.Tensor, "p d"]) -> Float[np.ndarray, "p d"]:
    unit: Float[np.ndarray, "p d"] = torch.nn.functional.normalize(codes.double(), dim=1).cpu().numpy()
    return unit
