"""Fits the non-negative L1 multinomial head for one penalty by accelerated proximal gradient.

The objective, for scores a (n, k), labels y and head W (c, k) with W >= 0 and no bias, is

    F(W) = mean over images of CE(a W^T, y)  +  penalty / c * sum(W)  +  ridge / (2 c) * sum(W^2)

so that both penalties mean the same for any number of classes. The ridge is 0 by default. With class weights the
cross-entropy of each image is multiplied by the image's weight, whose mean is 1.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.head.solvers.duality_gap import duality_gap, penalised
from protoquant.head.solvers.problem import Limits, Logits, Problem, Solution, blend

CHECK_EVERY = 5
"""Iterations between two checks of the optimality residual (a check costs half an iteration)."""

SCALE_FLOOR = 0.03
"""Lowest scale of a weight, as a share of the largest: a weight without curvature at the start may gain some later."""

MOST_HALVINGS = 100
"""Maximum number of steps tried in one iteration."""

STEP_GROWTH = 1.12
"""Factor by which the next step may be longer; backtracking shortens a step that is too long."""


def refit(problem: Problem, solution: Solution, share: float, limits: Limits) -> Solution:
    """Fit the chosen weights again under a smaller penalty, with the others held at zero.

    The L1 penalty both chooses weights and shrinks them; this undoes most of the shrinkage. Weights may
    still become zero, but none can come back.

    Args:
        problem: Scores and labels.
        solution: The fit that chose the weights.
        share: Share of its penalty to use, in (0, 1]; 1 leaves the weights as they are.
        limits: When to stop.

    Returns:
        The second fit; its objective, residual and gap are for the smaller penalty with the other weights held at zero.

    Source:
        Meinshausen 2007, "Relaxed Lasso".
    """
    columns = (solution.weights > 0).any(dim=0).nonzero().flatten()
    if share == 1 or len(columns) == 0:
        return solution
    start = solution.weights[:, columns]
    relaxed = solve(problem.on(columns), solution.penalty * share, limits, start=start, support=start > 0)
    return replace(relaxed, weights=problem.zeros().index_copy_(1, columns, relaxed.weights))


def solve(
    problem: Problem,
    penalty: float,
    limits: Limits,
    *,
    start: Float[Tensor, "c k"],
    support: Bool[Tensor, "c k"] | None = None,
    ridge: float = 0.0,
) -> Solution:
    """Minimise the objective for one penalty by FISTA with a diagonal metric, backtracking and adaptive restart.

    It ends at the tolerance, at the maximum number of iterations, or when rounding hides whether the loss falls; the
    residual shows how close to the optimum it came.

    Args:
        problem: Scores and labels.
        penalty: L1 penalty, >= 0.
        limits: When to stop.
        start: Head (c, k) to start from, >= 0.
        support: Weights that may be non-zero; None for all weights.
        ridge: L2 penalty, >= 0.

    Raises:
        DataError: The loss is NaN or infinite.

    Source:
        Beck and Teboulle 2009 (FISTA); O'Donoghue and Candes 2015 (gradient restart).
    """
    state = _Fista(problem, penalty, start if support is None else start * support, support, ridge)
    gradient = state.gradient
    while state.iterations < limits.max_iterations:
        residual = optimality_residual(state.weights, gradient + ridge * state.weights, penalty, support)
        if residual <= limits.tolerance * (penalty + ridge):
            break
        for _ in range(min(CHECK_EVERY, limits.max_iterations - state.iterations)):
            state.step()
        gradient = problem.gradient(state.logits)
        if state.exhausted:
            break
    return describe(
        problem,
        state.weights,
        state.logits,
        gradient=gradient,
        penalty=penalty,
        support=support,
        ridge=ridge,
        iterations=state.iterations,
    )


def describe(
    problem: Problem,
    weights: Float[Tensor, "c k"],
    logits: Logits,
    *,
    gradient: Float[Tensor, "c k"],
    penalty: float,
    support: Bool[Tensor, "c k"] | None = None,
    ridge: float = 0.0,
    iterations: int = 0,
) -> Solution:
    """Measure a head from any solver against the convex problem."""
    loss = problem.loss(logits)
    return Solution(
        penalty=penalty,
        weights=weights,
        loss=loss,
        objective=loss + penalised(weights, penalty, ridge),
        residual=optimality_residual(weights, gradient + ridge * weights, penalty, support),
        gap=duality_gap(problem, weights, logits, gradient=gradient, penalty=penalty, support=support, ridge=ridge),
        iterations=iterations,
    )


def optimality_residual(
    weights: Float[Tensor, "c k"],
    gradient: Float[Tensor, "c k"],
    penalty: float,
    support: Bool[Tensor, "c k"] | None = None,
) -> float:
    """Largest violation of the optimality (KKT) conditions, on the scale of the penalty.

    gradient + penalty is 0 where a weight is positive and >= 0 where it is 0; the gradient excludes the L1 penalty.
    """
    slope = gradient + penalty
    violation = torch.where(weights > 0, slope.abs(), (-slope).clamp_min(0))
    if support is not None:
        violation = violation * support
    return float(violation.max()) if violation.numel() else 0.0


class _Fista:
    """The running state of one solve.

    Every weight has a step size of its own, which is longer the less the loss curves along it at the start. Codes
    differ widely in how often they are present, and with a single step size the most frequent ones would limit all.

    If the problem is held whole, logits are carried along and a step costs two products. In blocks they are computed
    again, which takes three products in two passes. Computing the loss of a new head together with the gradient ahead
    of it would need one pass only, but products dominate the cost, and a step that is too long would waste two.
    """

    def __init__(
        self,
        problem: Problem,
        penalty: float,
        start: Float[Tensor, "c k"],
        support: Bool[Tensor, "c k"] | None,
        ridge: float,
    ) -> None:
        self.problem, self.penalty, self.support, self.ridge = problem, penalty, support, ridge
        self.weights = start
        self.logits = problem.logits(start)
        self._ahead, self._ahead_logits = start, self.logits
        self._momentum = 1.0
        self._scale = self._relative_curvature()
        self.gradient = problem.gradient(self.logits)
        self._inverse_step = self._curvature()
        self._noise = 4 * torch.finfo(problem.dtype).eps
        self.iterations = 0
        self.exhausted = False

    def _relative_curvature(self) -> Float[Tensor, "c k"]:
        """Curvature of the loss at the start along each weight, as a share of the largest."""
        diagonal = self.problem.diagonal(self.logits)
        largest = max(float(diagonal.max()), 1e-30) if diagonal.numel() else 1.0
        return (diagonal / largest).clamp_min_(SCALE_FLOOR)

    def _curvature(self) -> float:
        """Curvature along the first step, for the scaled weights; backtracking raises it if needed."""
        direction = self.gradient / self._scale
        curvature = self.problem.classes * self.problem.curvature(self.logits, direction)
        return max(curvature / max(float((direction.square() * self._scale).sum()), 1e-30), 1e-12)

    def step(self) -> None:
        """Take an accelerated step, or else one from the weights themselves; set ``exhausted`` if neither helps."""
        inverse_step = self._inverse_step
        if not self._step_ahead():
            self._ahead, self._ahead_logits, self._momentum = self.weights, self.logits, 1.0
            self._inverse_step = inverse_step
            self.exhausted = not self._step_ahead()

    def _step_ahead(self) -> bool:
        """Try ever shorter steps; return False if even a step that moves nothing seems to raise the loss."""
        problem, ahead = self.problem, self._ahead
        loss, gradient = problem.loss_and_gradient(self._ahead_logits)
        if not math.isfinite(loss):
            raise DataError(f"the head's loss is {loss:g}: check the features")
        for halvings in range(MOST_HALVINGS):
            metric = self._scale * self._inverse_step
            weights = ((ahead * metric - gradient - self.penalty) / (metric + self.ridge)).clamp_min_(0)
            if self.support is not None:
                weights *= self.support
            logits = problem.logits(weights)
            moved = weights - ahead
            model = float((gradient * moved).sum()) + float((moved.square() * metric).sum()) / 2
            if halvings and model == 0:
                return False
            if problem.loss(logits) <= loss + model / problem.classes + self._noise * max(loss, 1.0):
                self._extrapolate(weights, logits, moved)
                self._inverse_step /= STEP_GROWTH
                self.iterations += 1
                return True
            self._inverse_step *= 2
        return False

    def _extrapolate(self, weights: Tensor, logits: Logits, moved: Tensor) -> None:
        if float((moved * (weights - self.weights) * self._scale).sum()) < 0:
            self._momentum = 1.0
        following = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        ahead = (self._momentum - 1) / following
        self._ahead = torch.lerp(weights, self.weights, -ahead)
        self._ahead_logits = blend(logits, self.logits, ahead)
        self._momentum = following
        self.weights, self.logits = weights, logits
