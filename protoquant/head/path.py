"""The accuracy-sparsity path: every head of every temperature, each measured on validation."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.core.events import EpochEvent, MessageEvent, OnEvent
from protoquant.head.config import TrainConfig
from protoquant.head.head import head_logits
from protoquant.head.presence import ScoredSplit
from protoquant.head.problem import Limits, Problem, Solution
from protoquant.head.proximal import refit
from protoquant.head.regularisation import largest_penalty, penalty_path, solve_path
from protoquant.head.select import Candidate

NOISE = 1e-6
"""A largest penalty below this is rounding: scores lie in [0, 1]."""


@dataclass(frozen=True)
class Fitted:
    """A head of the path with its numbers.

    Attributes:
        candidate: Its numbers.
        weights: The head (c, k), sparse in memory.
    """

    candidate: Candidate
    weights: Float[Tensor, "c k"]


def fit_path(
    config: TrainConfig, train: ScoredSplit, validation: ScoredSplit, classes: int, on_event: OnEvent
) -> list[Fitted]:
    """Fit all heads, from sparse to dense, one temperature after the other.

    Args:
        config: Temperatures, penalties and the solver's limits.
        train: Scores to fit on.
        validation: Scores to measure on.
        classes: Number of classes c.
        on_event: Told of every head, and of one that the solver did not finish.

    Raises:
        DataError: A score is NaN or infinite, a label is out of range, or no code tells a class.
    """
    fitted: list[Fitted] = []
    for temperature, scores, held_out in zip(config.temperatures, train.scores, validation.scores, strict=True):
        problem = Problem(scores, train.labels, classes)
        largest = largest_penalty(problem)
        if largest <= NOISE:
            raise DataError(f"at temperature {temperature:g} no code tells any class apart; lower train.temperature")
        penalties = penalty_path(largest, config.ratio, config.points)
        limits = Limits(config.solver_tolerance, config.max_iterations)
        for solution in solve_path(problem, penalties, limits):
            weights = refit(problem, solution, config.refit, limits)
            found = top1(head_logits(held_out, weights), validation.labels)
            candidate = _describe(temperature, problem, solution, weights, found)
            fitted.append(Fitted(candidate, weights.to_sparse()))
            _tell(config, candidate, len(fitted), on_event)
    return fitted


def top1(logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> float:
    """Share of images whose highest logit is their label's, in [0, 1]; of equal logits the lower class counts."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def _describe(
    temperature: float, problem: Problem, solution: Solution, weights: Float[Tensor, "c k"], validation_top1: float
) -> Candidate:
    used = weights > 0
    return Candidate(
        temperature=temperature,
        penalty=solution.penalty,
        objective=solution.objective,
        residual=solution.residual / solution.penalty,
        iterations=solution.iterations,
        nonzeros=int(used.sum()),
        prototypes=int(used.any(dim=0).sum()),
        class_size=int(used.sum()) / problem.classes,
        train_top1=top1(head_logits(problem.scores, weights), problem.labels),
        validation_top1=validation_top1,
    )


def _tell(config: TrainConfig, candidate: Candidate, number: int, on_event: OnEvent) -> None:
    values = {
        "temperature": candidate.temperature,
        "class_size": candidate.class_size,
        "objective": candidate.objective,
        "validation_top1": candidate.validation_top1,
    }
    on_event(EpochEvent("head", number, values))
    if candidate.residual > config.solver_tolerance:
        text = (
            f"temperature {candidate.temperature:g}, penalty {candidate.penalty:.3g}: the head is "
            f"{candidate.residual:.2g} of its penalty from optimal after {candidate.iterations} steps, expected "
            f"<= {config.solver_tolerance:g} (train.solver_tolerance); raise train.max_iterations"
        )
        on_event(MessageEvent(text, "warning"))
