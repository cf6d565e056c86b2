"""Sums over the processes of a distributed run; of one process alone, the value itself."""

import torch
from torch import Tensor, distributed

from protoquant.codebook.worst import WorstTokens


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add up a tensor over all processes, in place."""
    if _together():
        distributed.all_reduce(tensor)
    return tensor


def worst_over_ranks(worst: WorstTokens) -> WorstTokens:
    """Agree on the worst token of every code over all processes; of equally bad ones the lowest rank's."""
    if not _together():
        return worst
    largest = worst.errors.clone()
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    rank, world = distributed.get_rank(), distributed.get_world_size()
    owner = torch.full_like(largest, world).masked_fill_(worst.errors == largest, rank)
    distributed.all_reduce(owner, distributed.ReduceOp.MIN)
    agreed = WorstTokens(worst.vectors)
    agreed.errors = largest
    agreed.vectors = sum_over_ranks(torch.where((owner == rank)[:, None], worst.vectors, 0.0))
    return agreed


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
