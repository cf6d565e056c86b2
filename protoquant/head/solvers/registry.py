"""The one list of solvers: how each fits the heads of one temperature. ``train.solver`` names one of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, track
from protoquant.core.seeding import torch_generator
from protoquant.head.config import BudgetConfig, SolverName, TrainConfig
from protoquant.head.solvers.budget import budget_path
from protoquant.head.solvers.gradient import train_epochs
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.l1_path import largest_penalty, penalty_path, solve_path
from protoquant.head.solvers.problem import Limits, Problem, Solution
from protoquant.head.solvers.proximal import describe, refit

NOISE = 1e-6
"""A largest penalty up to this is rounding, because scores lie in [0, 1]."""


@dataclass(frozen=True)
class Fit:
    """A head as its solver gives it.

    Attributes:
        first: The fit that chose the weights.
        last: The fit that gave the head.
        epoch: The epoch that was kept; 0 with the convex solvers.
        ridges: L2 penalties of the two fits.
    """

    first: Solution
    last: Solution
    epoch: int = 0
    ridges: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class FitTask:
    """What a solver is given for one temperature.

    Attributes:
        config: The params section.
        problem: Train scores and labels.
        held: Those of validation, for solvers that choose among their own results; each image counts by its weight.
        temperature: Temperature of the scores.
        seed: The seed of params.yaml.
        on_event: Receives the progress of a solver that takes long for one head.
    """

    config: TrainConfig
    problem: Problem
    held: Problem
    temperature: float
    seed: int
    on_event: OnEvent

    @property
    def limits(self) -> Limits:
        """When a convex solver may stop."""
        return Limits(self.config.solver_tolerance, self.config.max_iterations)

    def largest_penalty(self) -> float:
        """The smallest penalty at which all weights are zero; raises DataError if no weight would help."""
        largest = largest_penalty(self.problem)
        if largest <= NOISE:
            raise DataError(
                f"at temperature {self.temperature:g} no code tells any class apart; lower train.temperature"
            )
        return largest


def _proximal(task: FitTask) -> Iterator[Fit]:
    config = task.config
    penalties = penalty_path(task.largest_penalty(), config.ratio, config.points)
    for solution in solve_path(task.problem, penalties, task.limits):
        yield Fit(solution, refit(task.problem, solution, config.refit, task.limits))


def _budget(task: FitTask) -> Iterator[Fit]:
    budget, share = cast("BudgetConfig", task.config.budget), task.config.refit
    task.largest_penalty()
    for one in budget_path(task.problem, budget.sizes, budget.ridge, share, task.limits):
        yield Fit(one.dense, one.last, ridges=(budget.ridge, budget.ridge * share))


def _gradient(task: FitTask) -> Iterator[Fit]:
    """Train for each penalty and keep the best epoch on validation; ties go to the fewest weights, then the first."""
    config, problem, held = cast("GradientHeadConfig", task.config.gradient), task.problem, task.held
    for penalty in config.penalties:
        generator = torch_generator(task.seed, "head", f"{task.temperature:g}", f"{penalty:g}")
        epochs = train_epochs(problem, penalty, config, generator)
        label = f"head, temperature {task.temperature:g}, penalty {penalty:g}"
        told = track(epochs, label, config.epochs, "epochs", task.on_event)
        best = max(told, key=lambda epoch: (held.accuracy(epoch.weights), -int((epoch.weights > 0).sum())))
        logits = problem.logits(best.weights)
        gradient = problem.gradient(logits)
        solution = describe(problem, best.weights, logits, gradient=gradient, penalty=penalty, iterations=best.steps)
        yield Fit(solution, solution, best.number)


SOLVERS: Mapping[SolverName, Callable[[FitTask], Iterator[Fit]]] = {
    "budget": _budget,
    "proximal": _proximal,
    "gradient": _gradient,
}
"""Each gives the heads of one temperature, from sparse to dense if it can."""
