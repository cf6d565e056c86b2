"""What learners need to know of a batch matched to its codes: indices, cosines, and how bad each match is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.matching import Metric, nearest

_SMALL = 1e-12


@dataclass(frozen=True)
class Matched:
    """The code of every token of a batch.

    Attributes:
        indices: Code indices (b) in [0, k).
        cosines: Cosine with that code (b), whatever the metric, in [-1, 1].
        errors: 1 - cosine, or with ``euclidean`` the squared distance (b); 0 for a zero token under ``cosine``,
            which has no direction and must not become a code.
    """

    indices: Int64[Tensor, " b"]
    cosines: Float[Tensor, " b"]
    errors: Float[Tensor, " b"]


def match(vectors: Float[Tensor, "b d"], codes: Float[Tensor, "k d"], metric: Metric) -> Matched:
    """Match vectors to codes, without gradient.

    Args:
        vectors: Tokens in the space of the codes, any scale.
        codes: Codes, any scale.
        metric: How the nearest code is found; ties go to the lower index.
    """
    with torch.no_grad():
        indices, similarities = nearest(vectors, codes, metric)
        if metric == "cosine":
            suspects = torch.nonzero(similarities == 0).flatten()
            errors = 1.0 - similarities
            errors[suspects] *= vectors[suspects].any(dim=1)
            return Matched(indices, similarities, errors)
        energies, own = vectors.square().sum(dim=1), codes.square().sum(dim=1)[indices]
        products = (energies + own + similarities) / 2.0
        cosines = products / (energies * own).sqrt().clamp_min(_SMALL)
        return Matched(indices, cosines.clamp_(-1.0, 1.0), -similarities)
