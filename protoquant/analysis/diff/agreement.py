"""How far two models agree on their prototypes, for example two that were trained alike from other seeds."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from protoquant.analysis.diff.matching import other_space
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.distinctness import ALIKE
from protoquant.model.bundle import Bundle

MOST = 4096
"""Prototypes of a model up to which they are matched; the table of all pairs would take gigabytes beyond."""


@dataclass(frozen=True)
class Agreement:
    """Prototypes of two models matched one to one, so that the sum of their cosines is the largest possible.

    Attributes:
        mean: Mean cosine of the pairs, in [-1, 1].
        alike: Share of pairs with a cosine above 0.9.
        chance: Mean cosine that as many codes in random directions reach.
        unmatched: Prototypes of the larger model without a partner.
    """

    mean: float
    alike: float
    chance: float
    unmatched: int


def agreement(before: Bundle, after: Bundle) -> Agreement | None:
    """Compare the prototypes of two models.

    Returns:
        None where a model has no prototype or more than ``MOST``, or where the codes lie in different feature spaces.

    Source:
        Kuhn 1955 (the Hungarian method); ``scipy.optimize.linear_sum_assignment``.
    """
    counts = len(before.prototypes), len(after.prototypes)
    if other_space(before, after) or not all(0 < count <= MOST for count in counts):
        return None
    first, second = (_units(bundle.codebook.codes[bundle.prototypes]) for bundle in (before, after))
    cosines = matched_cosines(first, second)
    rng = numpy_generator(0, "agreement")
    drawn = [_units(torch.from_numpy(rng.normal(size=codes.shape))) for codes in (first, second)]
    return Agreement(
        mean=float(cosines.mean()),
        alike=float((cosines > ALIKE).mean()),
        chance=float(matched_cosines(*drawn).mean()),
        unmatched=abs(len(first) - len(second)),
    )


def matched_cosines(first: Float[np.ndarray, "p d"], second: Float[np.ndarray, "q d"]) -> Float[np.ndarray, " r"]:
    """Cosines of the pairs with the largest sum; r is the smaller of p and q."""
    cosines = (first @ second.T).clip(-1.0, 1.0)
    matched: Float[np.ndarray, " r"] = cosines[linear_sum_assignment(cosines, maximize=True)]
    return matched


def _units(codes: Float[torch.Tensor, "p d"]) -> Float[np.ndarray, "p d"]:
    units: Float[np.ndarray, "p d"] = torch.nn.functional.normalize(codes.double(), dim=1).cpu().numpy()
    return units
