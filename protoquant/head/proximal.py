"""The non-negative L1 multinomial head: accelerated proximal gradient for one penalty.

The objective, for scores a (n, k), labels y and head W (c, k) with W >= 0 and no bias, is

    F(W) = mean over images of CE(a W^T, y)  +  penalty / c * sum(W)

so that a penalty means the same whatever the number of classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.head.problem import Limits, Problem, Solution

CHECK_EVERY = 5
"""Iterations between two looks at the optimality residual (a look costs half an iteration)."""

STEP_GROWTH = 1.12
"""How much longer the next step may be; backtracking shortens a step that was too long."""


def refit(problem: Problem, solution: Solution, share: float, limits: Limits) -> Float[Tensor, "c k"]:
    """Fit the chosen weights again under a smaller penalty, the others held at zero.

    The L1 penalty both chooses weights and shrinks them; this takes back most of the shrinkage. Weights may
    still become zero, none can come back.

    Args:
        problem: Scores and labels.
        solution: What chose the weights.
        share: Of its penalty, in (0, 1]; 1 leaves the weights as they are.
        limits: When to stop.

    Returns:
        The head (c, k).

    Source:
        Meinshausen 2007, "Relaxed Lasso".
    """
    columns = (solution.weights > 0).any(dim=0).nonzero().flatten()
    if share == 1 or len(columns) == 0:
        return solution.weights
    start = solution.weights[:, columns]
    relaxed = solve(problem.on(columns), solution.penalty * share, limits, start=start, support=start > 0)
    return problem.zeros().index_copy_(1, columns, relaxed.weights)


def solve(
    problem: Problem,
    penalty: float,
    limits: Limits,
    *,
    start: Float[Tensor, "c k"],
    support: Bool[Tensor, "c k"] | None = None,
) -> Solution:
    """Minimise the objective for one penalty by FISTA with backtracking and adaptive restart.

    Args:
        problem: Scores and labels.
        penalty: L1 penalty, >= 0.
        limits: When to stop.
        start: Head (c, k) to start from, >= 0.
        support: Weights that may differ from zero; all of them when absent.

    Source:
        Beck and Teboulle 2009 (FISTA); O'Donoghue and Candes 2015 (gradient restart).
    """
    state = _Fista(problem, penalty, start if support is None else start * support, support)
    residual = state.residual()
    while residual > limits.tolerance * penalty and state.iterations < limits.max_iterations:
        for _ in range(min(CHECK_EVERY, limits.max_iterations - state.iterations)):
            state.step()
        residual = state.residual()
    loss = problem.loss(state.logits)
    total = float(state.weights.double().sum())
    return Solution(penalty, state.weights, loss, loss + penalty / problem.classes * total, residual, state.iterations)


def optimality_residual(
    weights: Float[Tensor, "c k"],
    gradient: Float[Tensor, "c k"],
    penalty: float,
    support: Bool[Tensor, "c k"] | None = None,
) -> float:
    """Largest violation of the optimality (KKT) conditions, on the scale of the penalty.

    gradient + penalty is 0 where a weight is positive and >= 0 where it is 0.
    """
    slope = gradient + penalty
    violation = torch.where(weights > 0, slope.abs(), (-slope).clamp_min(0))
    if support is not None:
        violation = violation * support
    return float(violation.max()) if violation.numel() else 0.0


class _Fista:
    """The running state of one solve; logits are carried along, so a step costs two products."""

    def __init__(
        self,
        problem: Problem,
        penalty: float,
        start: Float[Tensor, "c k"],
        support: Bool[Tensor, "c k"] | None,
    ) -> None:
        self.problem, self.penalty, self.support = problem, penalty, support
        self.weights = start
        self.logits = problem.scores @ start.T
        self._ahead, self._ahead_logits = start, self.logits
        self._momentum = 1.0
        self._inverse_step = self._curvature()
        self._noise = 4 * torch.finfo(problem.scores.dtype).eps
        self.iterations = 0

    def _curvature(self) -> float:
        """Curvature of the loss at the start along its own gradient; backtracking raises it where needed."""
        gradient = self.problem.gradient(self.logits)
        change = self.problem.scores @ gradient.T
        chances = torch.softmax(self.logits, dim=1)
        mean = (chances * change).sum(dim=1, keepdim=True)
        spread = float((chances * (change - mean).square()).sum(dim=1).mean())
        return max(self.problem.classes * spread / max(float(gradient.square().sum()), 1e-30), 1e-12)

    def residual(self) -> float:
        gradient = self.problem.gradient(self.logits)
        return optimality_residual(self.weights, gradient, self.penalty, self.support)

    def step(self) -> None:
        problem, ahead = self.problem, self._ahead
        loss, gradient = problem.loss_and_gradient(self._ahead_logits)
        while True:
            weights = (ahead - (gradient + self.penalty) / self._inverse_step).clamp_min_(0)
            if self.support is not None:
                weights *= self.support
            logits = problem.scores @ weights.T
            moved = weights - ahead
            model = float((gradient * moved).sum()) + self._inverse_step / 2 * float(moved.square().sum())
            if problem.loss(logits) <= loss + model / problem.classes + self._noise * max(loss, 1.0):
                break
            self._inverse_step *= 2
        self._extrapolate(weights, logits, moved)
        self._inverse_step /= STEP_GROWTH
        self.iterations += 1

    def _extrapolate(self, weights: Tensor, logits: Tensor, moved: Tensor) -> None:
        if float((moved * (weights - self.weights)).sum()) < 0:
            self._momentum = 1.0
        following = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        ahead = (self._momentum - 1) / following
        self._ahead = torch.lerp(weights, self.weights, -ahead)
        self._ahead_logits = torch.lerp(logits, self.logits, -ahead)
        self._momentum = following
        self.weights, self.logits = weights, logits
