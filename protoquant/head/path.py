"""Fits the candidates, which are heads of several sizes for each temperature, and measures them on validation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.core.events import EpochEvent, MessageEvent, OnEvent, track
from protoquant.core.seeding import torch_generator
from protoquant.head.config import BudgetConfig, GradientHeadConfig, TrainConfig
from protoquant.head.select import HeadCandidate
from protoquant.head.solvers.budget import budget_path
from protoquant.head.solvers.gradient import train_epochs
from protoquant.head.solvers.l1_path import largest_penalty, penalty_path, solve_path
from protoquant.head.solvers.problem import Limits, Problem, Solution
from protoquant.head.solvers.proximal import describe, refit
from protoquant.model.scored_split import ScoredSplit

NOISE = 1e-6
"""A largest penalty up to this is rounding, because scores lie in [0, 1]."""


@dataclass(frozen=True)
class Fitted:
    """A head of the path with its measurements.

    Attributes:
        candidate: Measurements of the head.
        weights: The head (c, k), sparse in memory.
    """

    candidate: HeadCandidate
    weights: Float[Tensor, "c k"]


@dataclass(frozen=True)
class _Fit:
    """A head from its solver: the fit that chose the weights, the fit that gave the head, and their L2 penalties."""

    first: Solution
    last: Solution
    epoch: int = 0
    ridges: tuple[float, float] = (0.0, 0.0)


def fit_path(
    config: TrainConfig,
    train: ScoredSplit,
    validation: ScoredSplit,
    classes: int,
    *,
    seed: int,
    on_event: OnEvent,
) -> list[Fitted]:
    """Fit all heads, one temperature after another; the proximal solver goes from sparse to dense.

    Args:
        config: Temperatures, and the solver with its penalties and limits.
        train: Scores to fit on.
        validation: Scores to measure on.
        classes: Number of classes c.
        seed: The seed of params.yaml; only the gradient solver draws random numbers.
        on_event: Receives an event for each head, and a warning if a solver did not converge.

    Raises:
        DataError: A score is NaN or infinite, a label is out of range, no code separates classes, or a loss is NaN.
    """
    fitted: list[Fitted] = []
    said: set[str] = set()
    for temperature, scores, held_out in zip(config.temperatures, train.scores, validation.scores, strict=True):
        problem = Problem(scores, train.labels, classes)
        held = Problem(held_out, validation.labels, classes)
        if config.gradient is not None:
            generators = (
                torch_generator(seed, "head", f"{temperature:g}", f"{p:g}") for p in config.gradient.penalties
            )
            label = f"head, temperature {temperature:g}"
            fits = _by_gradient(config.gradient, problem, held, generators=generators, label=label, on_event=on_event)
        elif config.budget is not None:
            fits = _budgets(config, config.budget, problem, temperature)
        else:
            fits = _proximal(config, problem, temperature)
        for fit in fits:
            candidate = _describe(temperature, problem, held, fit)
            fitted.append(Fitted(candidate, fit.last.weights.to_sparse()))
            _tell(candidate, len(fitted), on_event)
            # One dense fit ranks the weights of all budgets, so its warning is given only once.
            said = _warn(config, candidate, said, on_event)
    return fitted


def _proximal(config: TrainConfig, problem: Problem, temperature: float) -> Iterator[_Fit]:
    largest = _tells_classes(problem, temperature)
    limits = Limits(config.solver_tolerance, config.max_iterations)
    for solution in solve_path(problem, penalty_path(largest, config.ratio, config.points), limits):
        yield _Fit(solution, refit(problem, solution, config.refit, limits))


def _tells_classes(problem: Problem, temperature: float) -> float:
    """The smallest penalty at which all weights are zero; raises DataError if no weight would help."""
    largest = largest_penalty(problem)
    if largest <= NOISE:
        raise DataError(f"at temperature {temperature:g} no code tells any class apart; lower train.temperature")
    return largest


def _budgets(config: TrainConfig, budget: BudgetConfig, problem: Problem, temperature: float) -> Iterator[_Fit]:
    _tells_classes(problem, temperature)
    limits = Limits(config.solver_tolerance, config.max_iterations)
    for one in budget_path(problem, budget.sizes, budget.ridge, config.refit, limits):
        yield _Fit(one.dense, one.last, ridges=(budget.ridge, budget.ridge * config.refit))


def _by_gradient(
    config: GradientHeadConfig,
    problem: Problem,
    held: Problem,
    *,
    generators: Iterable[torch.Generator],
    label: str,
    on_event: OnEvent,
) -> Iterator[_Fit]:
    """Train for each penalty and keep the best epoch on validation; ties go to the fewest weights, then the first."""
    for penalty, generator in zip(config.penalties, generators, strict=True):
        epochs = train_epochs(problem, penalty, config, generator)
        told = track(epochs, f"{label}, penalty {penalty:g}", config.epochs, "epochs", on_event)
        best = max(told, key=lambda epoch: (held.top1(epoch.weights), -int((epoch.weights > 0).sum())))
        logits = problem.logits(best.weights)
        gradient = problem.gradient(logits)
        solution = describe(problem, best.weights, logits, gradient=gradient, penalty=penalty, iterations=best.steps)
        yield _Fit(solution, solution, best.number)


def _describe(temperature: float, problem: Problem, held: Problem, fit: _Fit) -> HeadCandidate:
    first, last = fit.first, fit.last
    used = last.weights > 0
    penalty, relaxed = first.penalty + fit.ridges[0], last.penalty + fit.ridges[1]
    return HeadCandidate(
        temperature=temperature,
        penalty=penalty,
        objective=first.objective,
        residual=first.residual / (penalty or 1.0),
        gap=first.gap,
        iterations=first.iterations,
        epoch=fit.epoch,
        refit_residual=last.residual / (relaxed or 1.0),
        refit_gap=last.gap,
        refit_iterations=0 if last is first else last.iterations,
        nonzeros=int(used.sum()),
        prototypes=int(used.any(dim=0).sum()),
        class_size=int(used.sum()) / problem.classes,
        train_top1=problem.top1(last.weights),
        validation_top1=held.top1(last.weights),
    )


def _tell(candidate: HeadCandidate, number: int, on_event: OnEvent) -> None:
    values = {
        "temperature": candidate.temperature,
        "class_size": candidate.class_size,
        "objective": candidate.objective,
        "gap": candidate.gap,
        "validation_top1": candidate.validation_top1,
    }
    on_event(EpochEvent("head", number, values))


def _warn(config: TrainConfig, candidate: HeadCandidate, said: set[str], on_event: OnEvent) -> set[str]:
    """Warn once about each convex fit that did not converge; return all warnings so far."""
    if config.solver == "gradient":
        return said
    for name, residual, iterations in (
        ("head", candidate.residual, candidate.iterations),
        ("second fit", candidate.refit_residual, candidate.refit_iterations),
    ):
        if residual > config.solver_tolerance and iterations > 0:
            ended = iterations < config.max_iterations
            remedy = "rounding allows no less, so raise that" if ended else "raise train.max_iterations"
            text = (
                f"temperature {candidate.temperature:g}, penalty {candidate.penalty:.3g}: the {name} is "
                f"{residual:.2g} of its penalty from optimal after {iterations} steps, expected "
                f"<= {config.solver_tolerance:g} (train.solver_tolerance); {remedy}"
            )
            if text not in said:
                on_event(MessageEvent(text, "warning"))
            said = said | {text}
    return said
