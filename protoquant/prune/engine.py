"""The one pruning engine: rank, cut, score again, measure, fine-tune, measure; then choose a step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.codebook.rest_codes import Rest
from protoquant.core.errors import DataError
from protoquant.core.events import EpochEvent, OnEvent
from protoquant.core.seeding import torch_generator
from protoquant.head.prune_plan import PrunePlan, StopRule
from protoquant.head.solvers.problem import Limits
from protoquant.prune.criteria import entry_importance, keep_best, prototype_importance
from protoquant.prune.evidence import Rescore, Scored
from protoquant.prune.finetune import Tuned, descend, refit
from protoquant.prune.measure import Deviation, HeadCompactness, Quality, deviation, quality, size
from protoquant.prune.schedule import counts_left, ratios_of


@dataclass(frozen=True)
class Start:
    """A trained head and what pruning needs to know of it.

    Attributes:
        head: Weights (c, k), >= 0.
        codes: Unit codes (k, d).
        penalty: L1 penalty of fine-tuning.
        limits: Of the convex solver.
        rescore: Scores train and validation with some of the codes.
        distil: Makes rest codes for removed codes (k); needed for semantics sink alone.
        ridge: L2 penalty of fine-tuning, beside the other one; none where the plan names a penalty.
    """

    head: Float[Tensor, "c k"]
    codes: Float[Tensor, "k d"]
    penalty: float
    limits: Limits
    rescore: Rescore
    distil: Callable[[Bool[Tensor, " k"]], Rest | None] | None = None
    ridge: float = 0.0


@dataclass(frozen=True)
class PruneStep:
    """A step of a plan; the first row is the head as it came.

    Attributes:
        ratio: Share of the units that are gone, in [0, 1).
        left: Units that may still be used: prototypes, weights, or weights of a class.
        size: Of the head after fine-tuning, on validation.
        before: On validation, before fine-tuning.
        after: On validation, after it; the same where there was none.
        work: Solver iterations or epochs of the fine-tuning.
        deviation: From the same cut in mask mode, on validation, before fine-tuning; zero for mask.
    """

    ratio: float
    left: int
    size: HeadCompactness
    before: Quality
    after: Quality
    work: int
    deviation: Deviation


@dataclass(frozen=True)
class _State:
    """Where the cuts have come to; every tensor is made anew at each step, none is written to."""

    weights: Float[Tensor, "c k"]
    support: Bool[Tensor, "c k"]
    kept: Int64[Tensor, " m"]
    rest: Rest | None
    scored: Scored


@dataclass(frozen=True)
class Pruned:
    """What a plan made.

    Attributes:
        head: Weights of the chosen step (c, k), over all codes.
        kept: Codes that are in the softmax, in order.
        rest: What competes for the others.
        scored: The splits as the chosen step sees them.
        rows: The start and every step.
        chosen: The row that was taken.
    """

    head: Float[Tensor, "c k"]
    kept: Int64[Tensor, " m"]
    rest: Rest | None
    scored: Scored
    rows: tuple[PruneStep, ...]
    chosen: int

    @property
    def row(self) -> PruneStep:
        """The row that was taken."""
        return self.rows[self.chosen]


def prune(plan: PrunePlan, start: Start, on_event: OnEvent) -> Pruned:
    """Carry out a plan.

    Args:
        plan: What to do.
        start: The head and its scores.
        on_event: Told of every step.

    Returns:
        The chosen head and the table of all steps. Without ``tolerance`` the last step is taken, so that exactly
        round(end * total) units are gone.

    Raises:
        DataError: Nothing would be left, nothing would be removed, or a criterion or a weight is NaN.
    """
    total, end = _target(plan, start.head)
    lefts = counts_left(ratios_of(plan, end), total)
    everything = torch.arange(start.head.shape[1], device=start.head.device)
    state = _State(start.head, start.head > 0, everything, None, start.rescore(everything, None))
    at_first = state.scored["validation"]
    came = quality(at_first, start.head)
    rows = [PruneStep(0.0, total, size(at_first, start.head), came, came, 0, Deviation(0.0, 0.0, 0.0))]
    snapshots = [replace(state, scored={})]
    stop = None if plan.stop is None else _Drop(plan.stop, came)
    for number, left in enumerate(lefts, start=1):
        state = _scored_again(plan, start, _cut(plan, start, state, left))
        before = quality(state.scored["validation"], state.weights)
        apart = deviation(at_first, state.scored["validation"], state.weights)
        tuned = _tune(plan, start, state, number, last=number == len(lefts))
        state = replace(state, weights=tuned.weights)
        seen = state.scored["validation"]
        after, small = quality(seen, state.weights), size(seen, state.weights)
        rows.append(PruneStep(1 - left / total, left, small, before, after, tuned.work, apart))
        # What a later step would change must not change this one: weights are kept by value, scores are not kept.
        snapshots.append(replace(state, weights=state.weights.clone(), scored={}))
        _tell(rows[-1], number, on_event)
        if stop is not None and stop.over(after):
            break
    chosen = choose(rows, plan.tolerance)
    taken = snapshots[chosen]
    same = chosen == len(rows) - 1 or plan.semantics == "mask"
    scored = state.scored if same else start.rescore(taken.kept, taken.rest)
    return Pruned(taken.weights, taken.kept, taken.rest, scored, tuple(rows), chosen)


def choose(rows: list[PruneStep], tolerance: float | None) -> int:
    """The last step within a tolerance of the best validation accuracy after fine-tuning; without one the last."""
    if tolerance is None:
        return len(rows) - 1
    best = max(row.after.top1 for row in rows)
    # Accuracies are quotients of counts: a margin far below one image keeps rounding out of the comparison.
    return max(place for place, row in enumerate(rows) if row.after.top1 >= best - tolerance - 1e-9)


class _Drop:
    """Ends the cuts once more steps in a row than patience bears lie too far below the best."""

    def __init__(self, rule: StopRule, came: Quality) -> None:
        self._rule = rule
        self._best = came.cost(rule.metric)
        self._low = 0

    def over(self, after: Quality) -> bool:
        cost = after.cost(self._rule.metric)
        self._low = self._low + 1 if cost > self._best + self._rule.drop + 1e-9 else 0
        self._best = min(self._best, cost)
        return self._low > self._rule.patience


def _target(plan: PrunePlan, head: Float[Tensor, "c k"]) -> tuple[int, float]:
    """Units at the start, and the share of them to remove."""
    used = head > 0
    if not bool(used.any()):
        raise DataError("the head has no weight; there is nothing to prune")
    if plan.budget is not None:
        most = int(used.sum(dim=1).max())
        if plan.budget >= most:
            raise DataError(f"budget must be < {most}, the weights of the largest class, got {plan.budget}; lower it")
        return most, 1.0 - plan.budget / most
    total = int(used.any(dim=0).sum()) if plan.unit == "prototype" else int(used.sum())
    return total, plan.ratios[-1] if plan.ratios is not None else plan.end or 0.0


def _cut(plan: PrunePlan, start: Start, state: _State, left: int) -> _State:
    """Take out the least important units until ``left`` remain."""
    seen, support = state.scored[plan.statistics], state.support
    if plan.unit == "prototype":
        kept = support.any(dim=0)
        importance = _checked(plan, prototype_importance(plan, seen, state.weights, start.codes, kept))
        stays = torch.zeros_like(kept)
        stays[keep_best(importance.masked_fill(~kept, -torch.inf), left)] = True
        support = support & stays
    else:
        importance = _checked(plan, entry_importance(plan, seen, state.weights)).masked_fill(~support, -torch.inf)
        lines = importance if plan.unit == "class_budget" else importance.reshape(1, -1)
        mask = torch.zeros_like(lines, dtype=torch.bool)
        for line, marks in zip(lines, mask, strict=True):
            marks[keep_best(line, left)] = True
        support = support & mask.reshape(support.shape)
    return replace(state, support=support, weights=state.weights * support)


def _checked(plan: PrunePlan, importance: Tensor) -> Tensor:
    if bool(importance.isnan().any()):
        raise DataError(f"criterion {plan.criterion} is NaN for a unit; check the features and the temperature")
    return importance


def _scored_again(plan: PrunePlan, start: Start, state: _State) -> _State:
    """Let the codes that no weight may use leave the softmax, unless they are only masked."""
    if plan.semantics == "mask":
        return state
    used = state.support.any(dim=0)
    rest = None
    if plan.semantics == "sink":
        if start.distil is None:
            raise DataError("semantics sink needs the tokens that the rest codes are fitted to")
        rest = start.distil(~used)
    kept = used.nonzero().flatten()
    return replace(state, kept=kept, rest=rest, scored=start.rescore(kept, rest))


def _tune(plan: PrunePlan, start: Start, state: _State, number: int, *, last: bool) -> Tuned:
    """Fine-tune where the plan says so."""
    if plan.finetune == "none" or (plan.finetune == "last" and not last):
        return Tuned(state.weights, 0)
    train = state.scored["train"]
    penalty, ridge = (start.penalty, start.ridge) if plan.penalty is None else (plan.penalty, 0.0)
    if plan.gradient is None:
        return refit(train, state.weights, state.support, penalty, start.limits, ridge=ridge)
    return descend(
        plan.gradient,
        train,
        state.scored["validation"],
        state.weights,
        state.support,
        penalty=penalty,
        ridge=ridge,
        generator=torch_generator(plan.seed, "prune", "epochs", number),
    )


def _tell(row: PruneStep, number: int, on_event: OnEvent) -> None:
    values = {
        "ratio": row.ratio,
        "prototypes": row.size.prototypes,
        "class_size": row.size.class_size,
        "validation_before": row.before.top1,
        "validation_top1": row.after.top1,
    }
    on_event(EpochEvent("prune", number, values))
