"""The pruning engine: each step ranks, cuts, rescores, measures, fine-tunes and measures; then one step is chosen."""

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
    """A trained head and the inputs of its pruning.

    Attributes:
        head: Weights (c, k), >= 0.
        codes: Unit codes (k, d).
        penalty: L1 penalty of fine-tuning.
        limits: Limits of the convex solver.
        rescore: Scores train and validation with some of the codes.
        distil: Makes rest codes for removed codes (k); needed only for semantics sink.
        ridge: L2 penalty of fine-tuning, added to the L1 penalty; 0 if the plan names a penalty.
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
    """A step of a plan; the first one is the unpruned head.

    Attributes:
        ratio: Share of the units that are removed, in [0, 1).
        left: Number of units that may still be used: prototypes, weights, or weights of a class.
        size: Size of the head after fine-tuning, on validation.
        before: Quality on validation before fine-tuning.
        after: Quality on validation after fine-tuning; the same as before if there was none.
        work: Solver iterations or epochs of the fine-tuning.
        deviation: Deviation from the same cut in mask mode, on validation, before fine-tuning; zero for mask.
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
    """The state between cuts; every step makes new tensors and writes to none."""

    weights: Float[Tensor, "c k"]
    support: Bool[Tensor, "c k"]
    kept: Int64[Tensor, " m"]
    rest: Rest | None
    scored: Scored


@dataclass(frozen=True)
class Pruned:
    """The result of a plan.

    Attributes:
        head: Weights of the chosen step (c, k), over all codes.
        kept: Codes in the softmax, in order.
        rest: Rest codes that compete in place of the others.
        scored: Scores of the splits at the chosen step.
        rows: The start and every step.
        chosen: Index of the row that was chosen.
    """

    head: Float[Tensor, "c k"]
    kept: Int64[Tensor, " m"]
    rest: Rest | None
    scored: Scored
    rows: tuple[PruneStep, ...]
    chosen: int

    @property
    def row(self) -> PruneStep:
        """The row that was chosen."""
        return self.rows[self.chosen]


def prune(plan: PrunePlan, start: Start, on_event: OnEvent) -> Pruned:
    """Carry out a plan.

    Args:
        plan: The pruning plan.
        start: The head and its scores.
        on_event: Receives an event for each step.

    Returns:
        The chosen head and the table of all steps. Without ``tolerance`` the last step is chosen, so exactly
        round(end * total) units are removed.

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
        # A later step must not change this one, so weights are copied; scores are large and are not kept.
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
    """The last step within the tolerance of the best validation accuracy after fine-tuning; without it, the last."""
    if tolerance is None:
        return len(rows) - 1
    best = max(row.after.accuracy for row in rows)
    # Accuracies are ratios of counts: a margin far below one image keeps rounding out of the comparison.
    return max(place for place, row in enumerate(rows) if row.after.accuracy >= best - tolerance - 1e-9)


class _Drop:
    """Ends the cuts once more consecutive steps than the patience allows are too far below the best."""

    def __init__(self, rule: StopRule, came: Quality) -> None:
        self._rule = rule
        self._best = came.cost(rule.metric)
        self._low = 0

    def over(self, after: Quality) -> bool:
        cost = after.cost(self._rule.metric)
        self._low = self._low + 1 if cost > self._best + self._rule.drop + 1e-9 else 0
        self._best = min(self._best, cost)
        return self._low > self._rule.patience


def largest_class(head: Float[Tensor, "c k"]) -> int:
    """The most weights that a class of the head has; a class budget removes something only if it is smaller."""
    return int((head > 0).sum(dim=1).max())


def _target(plan: PrunePlan, head: Float[Tensor, "c k"]) -> tuple[int, float]:
    """The number of units at the start, and the share of them to remove."""
    used = head > 0
    if not bool(used.any()):
        raise DataError("the head has no weight; there is nothing to prune")
    if plan.budget is not None:
        most = largest_class(head)
        if plan.budget >= most:
            raise DataError(f"budget must be < {most}, the weights of the largest class, got {plan.budget}; lower it")
        return most, 1.0 - plan.budget / most
    total = int(used.any(dim=0).sum()) if plan.unit == "prototype" else int(used.sum())
    return total, plan.ratios[-1] if plan.ratios is not None else plan.end or 0.0


def _cut(plan: PrunePlan, start: Start, state: _State, left: int) -> _State:
    """Remove the least important units until ``left`` remain."""
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
    """Remove the codes that no weight may use from the softmax, unless they are only masked."""
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
    """Fine-tune if the plan says so."""
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
