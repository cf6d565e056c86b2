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
        budget: Most weights of a class.
        dense: The fit that ranked the weights; the same for all budgets.
        last: The fit of the weights that were kept.
    """

    budget: int
    dense: Solution
    last: Solution


def budget_path(
    problem: Problem, budgets: Sequence[int], ridge: float, share: float, limits: Limits
) -> Iterator[Budgeted]:
    """Fit all weights under an L2 penalty, then for each budget the largest of each class alone.

    An L1 penalty keeps one of several codes that see the same part; the L2 penalty lets them share the weight, so
    that what is kept is what tells the class, and predictions lean on several codes at once.

    Args:
        problem: Scores and labels.
        budgets: Most weights of a class, each >= 1.
        ridge: L2 penalty of the dense fit, > 0.
        share: Of the penalty that stays in the second fit, in (0, 1].
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
    """Mark the largest positive weights of each class; of equal ones the lower code first.

    Args:
        weights: A head, >= 0.
        budget: How many of a class, >= 1; a class with fewer positive weights keeps those.
    """
    order = weights.argsort(dim=1, descending=True, stable=True)[:, :budget]
    return torch.zeros_like(weights, dtype=torch.bool).scatter_(1, order, value=True) & (weights > 0)
