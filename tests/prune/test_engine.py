from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import DataError
from protoquant.core.events import EpochEvent, ignore
from protoquant.head.prune_plan import GradientTuning, Patience, PrunePlan, StopRule
from protoquant.head.solvers.problem import Limits
from protoquant.prune.engine import Start, _Drop, choose, prune
from protoquant.prune.evidence import PruningEvidence
from protoquant.prune.finetune import refit
from protoquant.prune.measure import Quality, deviation

C, K = 3, 12


def split(n: int, seed: int) -> PruningEvidence:
    labels = torch.arange(n) % C
    noise = torch.rand(n, K, generator=torch.Generator().manual_seed(seed))
    own = (torch.arange(K) % C) == labels[:, None]
    return PruningEvidence(0.6 * noise + 0.3 * own * noise.flip(0), labels, (noise.sum(dim=0) * 10).long())


SPLITS = {"train": split(90, 0), "validation": split(45, 1)}


def masked(kept, rest):
    return SPLITS


def compacted(kept, rest):
    """Scores that rise where others leave, as in a softmax."""
    found = {}
    for name, seen in SPLITS.items():
        share = seen.scores[:, kept].sum(dim=1, keepdim=True) / seen.scores.sum(dim=1, keepdim=True)
        found[name] = replace(
            seen, scores=torch.zeros_like(seen.scores).index_copy(1, kept, seen.scores[:, kept] / share)
        )
    return found


def start(rescore=masked, head=None) -> Start:
    if head is None:
        head = 0.1 + torch.rand(C, K, generator=torch.Generator().manual_seed(2))
    return Start(head, torch.eye(K), 0.01, Limits(1e-3, 2000), rescore)


STEPS = {"schedule": "geometric", "step": 0.3}


@given(
    unit=st.sampled_from(["prototype", "entry"]),
    criterion=st.sampled_from(["magnitude", "contribution", "taylor", "leave_one_out"]),
    end=st.floats(0.05, 0.9),
    steps=st.booleans(),
)
def test_exactly_the_rounded_share_goes(unit, criterion, end, steps) -> None:
    plan = PrunePlan(unit=unit, criterion=criterion, end=end, finetune="none", **(STEPS if steps else {}))
    found = prune(plan, start(), ignore)
    total = K if unit == "prototype" else C * K
    used = found.head > 0
    assert int(used.any(dim=0).sum() if unit == "prototype" else used.sum()) == total - round(end * total)
    assert found.row.left == total - round(end * total)


@pytest.mark.parametrize("criterion", ["usage", "redundancy"])
def test_criteria_of_prototypes(criterion) -> None:
    found = prune(PrunePlan(criterion=criterion, end=0.5, finetune="none"), start(), ignore)
    assert found.row.size.prototypes == 6
    if criterion == "usage":
        kept = SPLITS["train"].counts.argsort(descending=True, stable=True)[:6].sort().values
        assert torch.equal((found.head > 0).any(dim=0).nonzero().flatten(), kept)


def test_statistics_may_be_those_of_validation() -> None:
    plan = PrunePlan(criterion="usage", usage="presence", statistics="validation", end=0.5, finetune="none")
    found = prune(plan, start(), ignore)
    kept = SPLITS["validation"].scores.mean(dim=0).argsort(descending=True)[:6].sort().values
    assert torch.equal((found.head > 0).any(dim=0).nonzero().flatten(), kept)


def test_top_k_keeps_the_largest_weights_of_each_class_and_no_zero() -> None:
    head = torch.zeros(C, K)
    head[0] = torch.arange(1.0, K + 1)
    head[1, :2] = torch.tensor([3.0, 4.0])
    found = prune(PrunePlan.top_k(4), start(head=head), ignore)
    assert found.head[0].nonzero().flatten().tolist() == [8, 9, 10, 11]
    assert found.head[1].nonzero().flatten().tolist() == [0, 1]  # two weights: no zero fills the row up
    assert found.row.size.nonzeros == 6
    assert found.row.size.prototypes == 6
    assert found.row.size.empty_classes == 1


def test_a_class_budget_is_reached_in_steps() -> None:
    plan = PrunePlan(unit="class_budget", criterion="magnitude", budget=3, schedule="hybrid", start=0.5, step=0.3)
    found = prune(plan, start(), ignore)
    assert [row.left for row in found.rows] == [12, 6, 4, 3]
    assert found.row.size.class_size <= 3


def test_mask_changes_a_logit_only_by_its_own_masked_weights() -> None:
    """Invariant: other classes' logits stay bit for bit, the own one falls by exactly the masked contributions."""
    begin = start()
    found = prune(PrunePlan(unit="entry", criterion="magnitude", end=0.3, finetune="none"), begin, ignore)
    scores = SPLITS["validation"].scores
    gone = (begin.head > 0) & (found.head == 0)
    assert torch.equal(found.head[~gone], begin.head[~gone])
    for label in range(C):
        before, after = scores @ begin.head[label], scores @ found.head[label]
        torch.testing.assert_close(before - after, scores[:, gone[label]] @ begin.head[label, gone[label]])
    assert bool(gone.any())


def test_nothing_is_changed_in_place() -> None:
    begin = start()
    before = begin.head.clone()
    scores = {name: seen.scores.clone() for name, seen in SPLITS.items()}
    tuned = PrunePlan(end=0.5, tuner="gradient", gradient=GradientTuning(epochs=2), **STEPS)
    prune(tuned, begin, ignore)
    assert torch.equal(begin.head, before)
    assert all(torch.equal(SPLITS[name].scores, scores[name]) for name in scores)


def test_refit_one_shot_from_any_start_is_the_optimum_on_what_is_left() -> None:
    found = prune(PrunePlan(end=0.5), start(), ignore)
    kept = (found.head > 0).any(dim=0)
    support = torch.zeros(C, K, dtype=torch.bool)
    support[:, kept] = True
    exact = refit(SPLITS["train"], 5.0 * support, support, 0.01, Limits(1e-3, 2000)).weights
    torch.testing.assert_close(found.head, exact, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("unit", ["prototype", "entry"])
def test_each_step_ranks_what_the_step_before_left(unit) -> None:
    """Codes 0 and 1 are twins that share a weight: once one of them has gone, the other is worth more than code 2."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    own, dim = (labels == 0).float(), 0.2 * torch.rand(40, generator=generator)
    scores = torch.stack([own, own, dim + 0.2 * own, 1 - own], dim=1)
    seen = {"train": PruningEvidence(scores, labels), "validation": PruningEvidence(scores, labels)}
    head = torch.tensor([[1.0, 0.9, 1.5, 0.0], [0.0, 0.0, 0.0, 3.0]])
    begin = Start(head, torch.eye(4), 0.01, Limits(1e-4, 2000), lambda kept, rest: seen)
    steps = PrunePlan(unit=unit, criterion="magnitude", schedule="manual", ratios=(0.25, 0.5))
    at_once = PrunePlan(unit=unit, criterion="magnitude", end=0.5)
    kept = [(prune(plan, begin, ignore).head > 0).any(dim=0).nonzero().flatten().tolist() for plan in (steps, at_once)]
    assert kept == [[0, 3], [2, 3]]


@pytest.mark.parametrize(("policy", "work"), [("none", [0, 0]), ("last", [0, 1]), ("each", [1, 1])])
def test_fine_tuning_happens_where_the_plan_says(policy, work) -> None:
    found = prune(PrunePlan(schedule="manual", ratios=(0.2, 0.5), finetune=policy), start(), ignore)
    assert [int(row.work > 0) for row in found.rows[1:]] == work
    for row in found.rows[1:]:
        assert (row.before == row.after) or row.work


def test_compact_scores_again_with_what_is_left_and_keeps_the_order() -> None:
    asked = []

    def rescore(kept, rest):
        asked.append(kept.tolist())
        return compacted(kept, rest)

    found = prune(PrunePlan(end=0.5, semantics="compact", finetune="none", **STEPS), start(rescore), ignore)
    assert asked[0] == list(range(K))
    assert [len(kept) for kept in asked] == [12, 8, 6]  # once a step
    assert found.kept.tolist() == asked[-1]
    assert found.row.deviation.mean > 0
    scored = compacted(found.kept, None)["validation"]
    assert found.row.deviation == deviation(SPLITS["validation"], scored, found.head)
    torch.testing.assert_close(found.scored["train"].scores, compacted(found.kept, None)["train"].scores)


def test_inactive_codes_leave_and_no_weight_goes() -> None:
    head = start().head.clone()
    head[:, [2, 5]] = 0
    plan = PrunePlan.inactive().model_copy(update={"finetune": "none"})
    found = prune(plan, start(compacted, head), ignore)
    assert torch.equal(found.head, head)
    assert found.kept.tolist() == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    assert found.row.ratio == 0


def test_the_chosen_step_comes_back_by_value() -> None:
    """What an earlier step had is what it has after later steps: the best is no reference to the last."""
    plan = PrunePlan(schedule="manual", ratios=(0.2, 0.5, 0.9), tolerance=0.0, criterion="magnitude")
    found = prune(plan, start(), ignore)
    assert 0 < found.chosen < 3
    upto = (0.2, 0.5, 0.9)[: found.chosen]
    alone = prune(PrunePlan(schedule="manual", ratios=upto, criterion="magnitude"), start(), ignore)
    assert torch.equal(found.head, alone.head)
    assert found.rows[: len(upto) + 1] == alone.rows


def test_a_chosen_step_before_the_last_is_scored_as_it_was() -> None:
    plan = PrunePlan(schedule="manual", ratios=(0.1, 0.9), tolerance=0.0, semantics="compact")
    found = prune(plan, start(compacted), ignore)
    assert found.chosen < 2
    torch.testing.assert_close(found.scored["train"].scores, compacted(found.kept, None)["train"].scores)


def row_of(top1: float):
    found = prune(PrunePlan(end=0.5, finetune="none"), start(), ignore).rows[0]
    return replace(found, after=replace(found.after, top1=top1))


def test_the_last_step_within_tolerance_is_taken() -> None:
    rows = [row_of(top1) for top1 in (0.90, 0.92, 0.91, 0.80)]
    assert choose(rows, None) == 3
    assert choose(rows, 0.0) == 1
    assert choose(rows, 0.01) == 2
    assert choose(rows, 0.2) == 3


def test_a_margin_below_one_image_keeps_rounding_out_of_the_tolerance() -> None:
    assert choose([row_of(right / 300) for right in (152, 149)], 0.01) == 1
    assert choose([row_of(right / 300) for right in (152, 148)], 0.01) == 0


def test_the_drop_is_from_the_best_step_so_far_and_a_good_step_ends_the_row() -> None:
    """From 0.9 a fall to 0.75 is too deep; one such step in a row is borne, the second is not."""
    drop = _Drop(StopRule(metric="top1", drop=0.1, patience=1), Quality(0.7, 1.0))
    said = [drop.over(Quality(top1, 1.0)) for top1 in (0.9, 0.75, 0.85, 0.75, 0.75)]
    assert said == [False, False, False, False, True]


@pytest.mark.parametrize(("patience", "steps"), [(0, 1), (1, 2), (9, 3)])
def test_the_cuts_end_when_accuracy_falls(patience, steps) -> None:
    """Ranked by usage that favours the useless, the first cut already hurts more than allowed."""
    head = torch.zeros(C, K)
    head[torch.arange(K) % C, torch.arange(K)] = 1.0
    rule = StopRule(metric="loss", drop=0.0, patience=patience)
    plan = PrunePlan(
        schedule="manual", ratios=(0.3, 0.6, 0.9), finetune="none", criterion="usage", stop=rule, tolerance=0.0
    )
    found = prune(plan, start(head=head), ignore)
    assert len(found.rows) - 1 == steps


def test_gradient_with_patience_runs_within_the_engine() -> None:
    tuning = GradientTuning(epochs=30, lr=0.05, stop=Patience(patience=1))
    found = prune(PrunePlan(end=0.5, tuner="gradient", gradient=tuning, **STEPS), start(), ignore)
    assert all(1 <= row.work <= 30 for row in found.rows[1:])
    assert all(row.after.loss <= row.before.loss for row in found.rows[1:])


@pytest.mark.parametrize(
    ("plan", "head", "text"),
    [
        (PrunePlan(end=0.5), torch.zeros(C, K), "the head has no weight"),
        (PrunePlan(end=0.99), None, "to remove 0.99 of 12 leaves nothing"),
        (PrunePlan.top_k(12), None, "budget must be < 12, the weights of the largest class, got 12"),
        (PrunePlan(end=0.5, semantics="sink", sink_codes=2), None, "sink needs the tokens"),
        (PrunePlan(end=0.5, criterion="taylor"), torch.full((C, K), float("inf")), "is NaN for a unit"),
    ],
)
def test_what_cannot_be_done_is_said(plan, head, text) -> None:
    with pytest.raises(DataError, match=text):
        prune(plan, start(head=head), ignore)


def test_every_step_is_told() -> None:
    events = []
    prune(PrunePlan(end=0.5, **STEPS), start(), events.append)
    assert [event.epoch for event in events if isinstance(event, EpochEvent)] == [1, 2]
