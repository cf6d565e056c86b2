"""Agreement of the prototypes of two models that were trained alike, for example from other seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.evaluation.metrics.distinctness import ALIKE


@dataclass(frozen=True)
class Matching:
    """Prototypes of two models, one to one, so that the sum of their cosines is the largest possible.

    Attributes:
        first: Positions in the first model (r), ascending; r is the smaller of the two numbers of prototypes.
        second: Their partners in the second model (r).
        cosines: Cosine of each pair (r).
        unmatched: Prototypes of the larger model that have no partner.
    """

    first: Int[np.ndarray, " r"]
    second: Int[np.ndarray, " r"]
    cosines: Float[np.ndarray, " r"]
    unmatched: int

    @property
    def alike(self) -> Float[np.ndarray, " r"]:
        """1.0 where the cosine of a pair exceeds 0.9, else 0.0."""
        return (self.cosines > ALIKE).astype(np.float64)


def match(first: Float[np.ndarray, "p d"], second: Float[np.ndarray, "q d"]) -> Matching:
    """Match prototypes by the Hungarian method.

    Args:
        first: Unit vectors of the first model's prototypes.
        second: Those of the second model, in the same space.

    Source:
        Kuhn 1955; ``scipy.optimize.linear_sum_assignment``.
    """
    cosines = (first.astype(np.float64) @ second.T.astype(np.float64)).clip(-1.0, 1.0)
    rows, cols = linear_sum_assignment(cosines, maximize=True)
    return Matching(rows, cols, cosines[rows, cols], abs(len(first) - len(second)))


def random_codes(p: int, d: int, rng: np.random.Generator) -> Float[np.ndarray, "p d"]:
    """Unit vectors in random directions: what a matching of so many codes reaches by chance."""
    drawn = rng.normal(size=(p, d))
    units: Float[np.ndarray, "p d"] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return units


def in_space_of(norm: FeatureNorm, codebook: Codebook, nearest: Float[Tensor, "k d"]) -> Float[np.ndarray, "k d"]:
    """The codes of a model as unit vectors of another model's feature space.

    Args:
        norm: The other model's map, from tokens of the same backbone.
        codebook: The codes.
        nearest: The train patch token nearest to each code, which lends a code what its own map takes away from
            tokens, such as their length. It is not read where the two maps are equal: the codes stay as they are.
    """
    if _equal(norm, codebook.norm):
        return codebook.codes.double().numpy()
    units: Tensor = norm.units(codebook.norm.undo(codebook.codes.double(), nearest.double()))
    return units.numpy()


def _equal(one: FeatureNorm, other: FeatureNorm) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    return one.name == other.name and all(torch.equal(mine[key], theirs[key]) for key in mine)
