"""Matching: the nearest code of every vector, by cosine or by Euclidean distance."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.config import Metric

__all__ = ["Metric", "nearest"]

_SMALL = 1e-12


def nearest(
    vectors: Float[Tensor, "b d"], codes: Float[Tensor, "k d"], metric: Metric
) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
    """Find the nearest code of every vector.

    Args:
        vectors: Vectors in the space of the codes, any scale.
        codes: Codes, any scale.
        metric: ``cosine`` compares directions; a zero vector has none: code 0, similarity 0. ``euclidean``
            compares places.

    Returns:
        Code indices (b) in [0, k), ties to the lower one, and the similarity with that code (b): the cosine in
        [-1, 1], or the negative of the squared distance, at most 0.
    """
    if metric == "cosine":
        directions = codes / torch.linalg.vector_norm(codes, dim=1, keepdim=True).clamp_min(_SMALL)
        best, indices = (vectors @ directions.T).max(dim=1)
        cosines = best / torch.linalg.vector_norm(vectors, dim=1).clamp_min(_SMALL)
        return indices, cosines.clamp(-1.0, 1.0)
    # |v - c|^2 = |v|^2 - 2 (v . c - |c|^2 / 2): the bracket alone decides
    best, indices = torch.addmm(-0.5 * codes.square().sum(dim=1), vectors, codes.T).max(dim=1)
    return indices, (2.0 * best - vectors.square().sum(dim=1)).clamp_max(0.0)
