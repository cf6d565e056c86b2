"""Matches a batch of tokens to codes for the learners: indices, cosines and errors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.matching import Matcher, Metric


@dataclass(frozen=True)
class Matched:
    """The code of every token of a batch.

    Attributes:
        indices: Code indices (b) in [0, k).
        cosines: Cosine with that code (b), with either metric, in [-1, 1].
        errors: 1 - cosine, or with ``euclidean`` the squared distance (b); 0 for a zero token, because it must not
            become a code.
    """

    indices: Int64[Tensor, " b"]
    cosines: Float[Tensor, " b"]
    errors: Float[Tensor, " b"]


def match(vectors: Float[Tensor, "b d"], matcher: Matcher, metric: Metric) -> Matched:
    """Match vectors to codes, without gradient.

    Args:
        vectors: Tokens in the space of the codes, any scale.
        matcher: The codes, prepared for the metric.
        metric: How the nearest code is found; ties go to the lower index.
    """
    indices, similarities = matcher.nearest(vectors)
    errors = 1.0 - similarities if metric == "cosine" else -similarities
    errors *= torch.linalg.vector_norm(vectors, dim=1) > 0
    return Matched(indices, matcher.cosines(vectors, indices, similarities), errors)
