"""The token that each code represents worst, kept while tokens stream by, and when dead codes may have it."""

from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.distributed.ranks import largest_over_ranks, rank, sum_over_ranks, world


class WorstTokens:
    """Candidates for the place of dead codes, in memory of k tokens.

    Args:
        like: Codes (k, d) whose shape, type and device the candidates take.
    """

    def __init__(self, like: Float[Tensor, "k d"]) -> None:
        self.vectors = torch.zeros_like(like)
        self.errors = torch.zeros_like(like[:, 0])

    def add(self, vectors: Float[Tensor, "b d"], indices: Int64[Tensor, " b"], errors: Float[Tensor, " b"]) -> None:
        """Look at a batch; of equally bad tokens the first is kept.

        Args:
            vectors: Tokens in the space of the codes.
            indices: The code of each.
            errors: How badly it represents them, >= 0; a token of error 0 is never kept.
        """
        largest = torch.zeros_like(self.errors).scatter_reduce(0, indices, errors, "amax")
        candidates = torch.nonzero(errors >= largest[indices]).flatten()
        rows = torch.zeros_like(largest, dtype=torch.int64)
        rows = rows.scatter_reduce(0, indices[candidates], candidates, "amin", include_self=False)
        better = largest > self.errors
        self.vectors[better] = vectors[rows[better]]
        self.errors = torch.maximum(self.errors, largest)

    def over_ranks(self) -> Self:
        """Agree on the worst token of every code over all processes; of equally bad ones the lowest rank's."""
        agreed = type(self)(self.vectors)
        agreed.errors = largest_over_ranks(self.errors)
        lost = torch.full_like(self.errors, float(world()))
        first = -largest_over_ranks(-lost.masked_fill(self.errors == agreed.errors, float(rank())))
        agreed.vectors = sum_over_ranks(torch.where((first == rank())[:, None], self.vectors, 0.0))
        return agreed


def revival_due(epoch: int, epochs: int, *, every: int, until: float | None) -> bool:
    """Whether dead codes are revived after an epoch.

    Args:
        epoch: The epoch that ends, from 1.
        epochs: Epochs of the whole run.
        every: Epochs from one revival to the next; 0: never.
        until: Share of the epochs after which there is none any more; None with ``every`` 0.
    """
    return every > 0 and until is not None and epoch % every == 0 and epoch <= until * epochs
