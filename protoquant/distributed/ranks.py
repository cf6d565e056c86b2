"""The processes of a distributed run (ranks): each works on its share of the images, and sums cover all of them.

In a single process, the share is the whole and every sum is the value itself, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from protoquant.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
_alone = ContextVar("alone", default=False)


def world() -> int:
    """The number of processes that work together; 1 inside ``alone``."""
    from torch import distributed

    together = not _alone.get() and distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def rank() -> int:
    """The number of this process, in [0, world)."""
    from torch import distributed

    return distributed.get_rank() if world() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """Work in this process only: inside the block there are no others to share with or to wait for."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def own(count: int) -> slice:
    """This process's share of an ordered sequence: one contiguous slice; all processes together cover it once."""
    return slice(count * rank() // world(), count * (rank() + 1) // world())


def own_images(count: int) -> slice:
    """This process's share of the images of a split.

    Raises:
        UsageError: There are fewer images than processes.
    """
    if count < world():
        raise UsageError(f"PROTOQUANT_PROCESSES must be at most the {count} images of a split, got {world()}")
    return own(count)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add up a tensor over all processes; the given tensor is not changed."""
    return _reduced(tensor, "SUM")


def largest_over_ranks(tensor: Tensor) -> Tensor:
    """Take the elementwise maximum of a tensor over all processes; the given tensor is not changed."""
    return _reduced(tensor, "MAX")


def totals_over_ranks(*numbers: float) -> list[float]:
    """Add up numbers over all processes, in float64."""
    if world() == 1:
        return list(numbers)
    import torch

    found: list[float] = sum_over_ranks(torch.tensor(numbers, dtype=torch.float64)).tolist()
    return found


def mean_over_ranks(tensor: Tensor, count: int) -> Tensor:
    """Average a tensor over all processes, each weighted by the number of images that it counts."""
    if world() == 1:
        return tensor
    return sum_over_ranks(tensor * (count / totals_over_ranks(count)[0]))


def gather_over_ranks(value: T) -> list[T]:
    """Give every process the values of all, in the order of the ranks; tensors must be on the CPU."""
    if world() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value)
    return found


def from_first_rank(tensor: Tensor) -> Tensor:
    """Give every process the tensor of the first, so that none continues with its own rounding."""
    if world() == 1:
        return tensor
    from torch import distributed

    shared = tensor.to(_exchange(), copy=True).contiguous()
    distributed.broadcast(shared, 0)
    return shared.to(tensor.device)


def _reduced(tensor: Tensor, how: str) -> Tensor:
    if world() == 1:
        return tensor
    from torch import distributed

    shared = tensor.to(_exchange(), copy=True).contiguous()
    distributed.all_reduce(shared, getattr(distributed.ReduceOp, how))
    return shared.to(tensor.device)


def _exchange() -> Any:
    """The device whose tensors the processes exchange."""
    import torch
    from torch import distributed

    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
