"""Tracks the token that each code represents worst, and says when dead codes are revived."""

from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.distributed.ranks import largest_over_ranks, rank, sum_over_ranks, world


class WorstTokens:
    """Tokens that dead codes may move to, in memory for k tokens.

    Args:
        like: Codes (k, d) whose shape, dtype and device the tokens take.
    """

    def __init__(self, like: Float[Tensor, "k d"]) -> None:
        self.vectors = torch.zeros_like(like)
        self.errors = torch.zeros_like(like[:, 0])

    def add(self, vectors: Float[Tensor, "b d"], indices: Int64[Tensor, " b"], errors: Float[Tensor, " b"]) -> None:
        """Add a batch; the first of equally bad tokens is kept.

        Args:
            vectors: Tokens in the space of the codes.
            indices: Index of each token's code.
            errors: Error of each token, >= 0; a token with error 0 is never kept.
        """
        largest = torch.zeros_like(self.errors).scatter_reduce(0, indices, errors, "amax")
        candidates = torch.nonzero(errors >= largest[indices]).flatten()
        rows = torch.zeros_like(largest, dtype=torch.int64)
        rows = rows.scatter_reduce(0, indices[candidates], candidates, "amin", include_self=False)
        better = largest > self.errors
        self.vectors[better] = vectors[rows[better]]
        self.errors = torch.maximum(self.errors, largest)

    def over_ranks(self) -> Self:
        """The worst token of every code over all processes; on ties, that of the lowest rank."""
        agreed = type(self)(self.vectors)
        agreed.errors = largest_over_ranks(self.errors)
        lost = torch.full_like(self.errors, float(world()))
        first = -largest_over_ranks(-lost.masked_fill(self.errors == agreed.errors, float(rank())))
        agreed.vectors = sum_over_ranks(torch.where((first == rank())[:, None], self.vectors, 0.0))
        return agreed


def revival_due(epoch: int, epochs: int, *, every: int, until: float | None) -> bool:
    """Whether dead codes are revived after an epoch.

    Args:
        epoch: Number of the epoch that ends, from 1.
        epochs: Number of epochs of the whole run.
        every: Number of epochs from one revival to the next; 0: never.
        until: Share of the epochs after which no code is revived; None with ``every`` 0.
    """
    return every > 0 and until is not None and epoch % every == 0 and epoch <= until * epochs
