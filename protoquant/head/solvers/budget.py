"""Heads with a fixed number of prototypes for each class: one dense fit, its largest weights, a second fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.head.solvers.problem import Limits, Problem, Solution
from protoquant.head.solvers.proximal import solve


@dataclass(frozen=True)
class Budgeted:
    """The head of one budget.

    Attributes:
        budget: Maximum number of weights of a class.
        dense: The fit that ranked the weights; the same for all budgets.
        last: The fit of the kept weights.
    """

    budget: int
    dense: Solution
    last: Solution


def budget_path(
    problem: Problem, budgets: Sequence[int], ridge: float, share: float, limits: Limits
) -> Iterator[Budgeted]:
    """Fit all weights under an L2 penalty, then for each budget only the largest of each class.

    An L1 penalty keeps one of several codes that see the same part; the L2 penalty lets them share the weight, so the
    weights that are kept are those that identify the class, and predictions rely on several codes at once.

    Args:
        problem: Scores and labels.
        budgets: Maximum numbers of weights of a class, each >= 1.
        ridge: L2 penalty of the dense fit, > 0.
        share: Share of the penalty that is used in the second fit, in (0, 1].
        limits: When to stop.

    Yields:
        The head of each budget, in the order given.
    """
    dense = solve(problem, 0.0, limits, start=problem.zeros(), ridge=ridge)
    for budget in budgets:
        support = largest_of_class(dense.weights, budget)
        columns = support.any(dim=0).nonzero().flatten()
        start = (dense.weights * support)[:, columns]
        last = solve(problem.on(columns), 0.0, limits, start=start, support=start > 0, ridge=ridge * share)
        yield Budgeted(budget, dense, replace(last, weights=problem.zeros().index_copy_(1, columns, last.weights)))


def largest_of_class(weights: Float[Tensor, "c k"], budget: int) -> Bool[Tensor, "c k"]:
    """Mark the largest positive weights of each class; the lower code wins ties.

    Args:
        weights: A head, >= 0.
        budget: Number of weights per class, >= 1; a class with fewer positive weights keeps those.
    """
    order = weights.argsort(dim=1, descending=True, stable=True)[:, :budget]
    return torch.zeros_like(weights, dtype=torch.bool).scatter_(1, order, value=True) & (weights > 0)
