"""Fits the candidates, which are heads of several sizes for each temperature, and measures them on validation."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from protoquant.core.events import EpochEvent, MessageEvent, OnEvent
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import TrainConfig
from protoquant.head.narrowing import wide_head
from protoquant.head.select import HeadCandidate
from protoquant.head.solvers.problem import Problem
from protoquant.head.solvers.registry import SOLVERS, Fit, FitTask
from protoquant.model.scored_split import ScoredSplit


@dataclass(frozen=True)
class Fitted:
    """A head of the path with its measurements.

    Attributes:
        candidate: Measurements of the head.
        weights: The head (c, k), sparse in memory.
        start: The head (c, k) with which joint training would start, sparse in memory.
    """

    candidate: HeadCandidate
    weights: Float[Tensor, "c k"]
    start: Float[Tensor, "c k"]


def fit_candidates(
    config: TrainConfig,
    train: ScoredSplit,
    validation: ScoredSplit,
    classes: int,
    *,
    class_weights: ClassWeights | None,
    seed: int,
    on_event: OnEvent,
) -> list[Fitted]:
    """Fit all heads, one temperature after another; the proximal solver goes from sparse to dense.

    Args:
        config: Temperatures, and the solver with its penalties and limits.
        train: Scores to fit on.
        validation: Scores to measure on.
        classes: Number of classes c.
        class_weights: Weights of the images of each class; None: all count the same, and top-1 compares heads.
        seed: The seed of params.yaml; only the gradient solver draws random numbers.
        on_event: Receives an event for each head, and a warning if a solver did not converge.

    Raises:
        DataError: A score is NaN or infinite, a label is out of range, no code separates classes, or a loss is NaN.
    """
    fitted: list[Fitted] = []
    said: set[str] = set()
    weights = None if class_weights is None else class_weights.of_images(train.labels)
    judging = None if class_weights is None else class_weights.judging.of_images(validation.labels)
    for temperature, scores, held_out in zip(config.temperatures, train.scores, validation.scores, strict=True):
        problem = Problem(scores, train.labels, classes, weights=weights)
        held = Problem(held_out, validation.labels, classes, weights=judging)
        task = FitTask(config, problem, held, temperature, seed, on_event)
        for fit in SOLVERS[config.solver](task):
            candidate = _describe(temperature, problem, held, fit, balanced=class_weights is not None)
            fitted.append(Fitted(candidate, fit.last.weights.to_sparse(), wide_head(config, fit).to_sparse()))
            _tell(candidate, len(fitted), on_event)
            # One dense fit ranks the weights of all budgets, so its warning is given only once.
            said = _warn(config, candidate, said, on_event)
    return fitted


def _describe(temperature: float, problem: Problem, held: Problem, fit: Fit, *, balanced: bool) -> HeadCandidate:
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
        balanced_accuracy=held.accuracy(last.weights) if balanced else None,
    )


def _tell(candidate: HeadCandidate, number: int, on_event: OnEvent) -> None:
    values = {
        "temperature": candidate.temperature,
        "class_size": candidate.class_size,
        "objective": candidate.objective,
        "gap": candidate.gap,
        "validation_top1": candidate.validation_top1,
    }
    if candidate.balanced_accuracy is not None:
        values["balanced_accuracy"] = candidate.balanced_accuracy
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
