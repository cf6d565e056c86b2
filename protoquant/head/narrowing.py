"""How joint training comes down from a wide head to the number of prototypes that choice took."""

from jaxtyping import Float
from torch import Tensor

from protoquant.head.config import JointConfig, TrainConfig
from protoquant.head.solvers.budget import largest_of_class
from protoquant.head.solvers.registry import Fit


def wide_head(config: TrainConfig, fit: Fit) -> Float[Tensor, "c k"]:
    """The head with which joint training of a fitted head starts.

    With solver budget these are ``joint.start_size`` of the largest weights of each class of the fit that ranked them,
    unless the head is as wide already; else it is the fitted head. So of weights that are about as large the loss
    chooses, while codes and head are trained, and not their rank before.

    Args:
        config: The section of train.
        fit: A head with the fit that ranked its weights.
    """
    head, most = fit.last.weights, _start_size(config)
    if most is None or int((head > 0).sum(dim=1).max()) >= most:
        return head
    return fit.first.weights * largest_of_class(fit.first.weights, most)


def final_size(config: TrainConfig, place: int) -> int | None:
    """Most weights of a class that joint training leaves of a candidate's wide head; None: as many as it starts with.

    A candidate may have fewer weights than its budget, and so be within ``max_class_size`` where the budget is not.

    Args:
        config: The section of train.
        place: Position of the candidate among those of all temperatures.
    """
    if config.budget is None or _start_size(config) is None:
        return None
    size, limit = config.budget.sizes[place % len(config.budget.sizes)], config.max_class_size
    return size if limit is None else max(1, min(size, int(limit)))


def narrowing(config: JointConfig, size: int) -> tuple[int, ...]:
    """Most weights of a class after each epoch: from ``start_size`` in even steps over the first half of the epochs.

    It depends on the section alone, not on the head that is cut: an epoch that a held-out fold may choose is one in
    which the head of all images has its size too.

    Args:
        config: The section ``train.joint``.
        size: Most weights of a class in the end; where ``start_size`` is none or not above it, none is cut.
    """
    start, epochs = max(config.start_size or size, size), config.epochs
    done = (min(1.0, 2 * number / epochs) for number in range(1, epochs + 1))
    return tuple(round(start + (size - start) * share) for share in done)


def _start_size(config: TrainConfig) -> int | None:
    return None if config.budget is None or config.joint is None else config.joint.start_size
