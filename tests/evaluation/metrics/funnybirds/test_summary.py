"""Means, skips, the choice of the threshold, and the aggregates of published results."""

import numpy as np
import pytest

from protoquant.evaluation.metrics.funnybirds.classes import ClassParts
from protoquant.evaluation.metrics.funnybirds.scores import Score, Skip
from protoquant.evaluation.metrics.funnybirds.summary import FIXED, THRESHOLDS, Summary, of_model, summarise
from protoquant.evaluation.metrics.funnybirds.trial import Importance, Trial

NAMES = (
    "synthetic_data_check", "preservation_check", "deletion_check", "distractibility",
    "single_deletion", "target_sensitivity",
)  # fmt: skip
EVERY = len(THRESHOLDS) + 1


def constant(**values: float) -> Summary:
    """One image, with the same score at every threshold."""
    width = {name: 1 if name in NAMES[4:] else EVERY for name in NAMES}
    return Summary({name: Score.of([np.full(width[name], values[name])], width[name]) for name in NAMES})


def of_all(summary: Summary, column: int, n: int = 1) -> dict[str, float]:
    return {name: float(one(np.arange(n))) for name, one in summary.statistics(column).items()}


@pytest.mark.parametrize(
    ("scores", "complete", "mean"),
    [
        ((0.7353, 0.602, 0.532, 0.54372, 0.54592, 0.806), 0.58341, 0.64511),
        ((0.93935, 0.952, 0.92, 0.96602, 0.72917, 0.72345), 0.95157, 0.80140),
    ],
)
def test_golden_vectors(scores: tuple[float, ...], complete: float, mean: float) -> None:
    summary = constant(**dict(zip(NAMES, scores, strict=True)))
    found = of_all(summary, summary.best)
    assert found["completeness"] == pytest.approx(complete, abs=5e-6)
    assert found["mean"] == pytest.approx(mean, abs=5e-6)
    assert (found["correctness"], found["contrastivity"]) == pytest.approx(scores[4:])


def test_thresholds_of_the_protocol() -> None:
    assert (len(THRESHOLDS), THRESHOLDS[0], THRESHOLDS[-1]) == (80, 0.01, 0.5)
    assert THRESHOLDS[1] == pytest.approx(0.0162025, abs=5e-8)


def test_best_threshold_weighs_the_checks_by_a_third_and_the_first_wins_a_tie() -> None:
    summary = constant(**dict.fromkeys(NAMES, 0.5))
    assert summary.best == 0
    for name, column, gain in (("deletion_check", 5, 0.4), ("distractibility", 7, 0.2), ("distractibility", 9, 0.2)):
        summary.scores[name].values[0, column] += gain
    assert summary.best == 7
    summary.scores["distractibility"].values[0, summary.fixed] = 1.0  # FIXED does not take part in the choice
    assert summary.best == 7


def test_skipped_images_are_left_out_and_counted() -> None:
    score = Score.of([0.5, Skip.NO_PAIR, 1.0, Skip.NO_PAIR, Skip.CONSTANT])
    assert (score.value.tolist(), score.n) == ([0.75], 3 - 1)
    assert score.skipped == {Skip.NO_PAIR: 2, Skip.CONSTANT: 1}
    assert np.isnan(score.values[[1, 3, 4]]).all()
    assert score.statistic()(np.array([[0, 1, 1], [0, 2, 2]])).tolist() == pytest.approx([0.5, 2.5 / 3])
    # A resample of skipped images alone knows nothing beyond the mean of all.
    assert score.statistic()(np.array([1, 3])) == 0.75
    assert np.isnan(Score.of([Skip.NO_PAIR]).statistic()(np.array([0])))


def test_a_score_that_is_nowhere_defined_is_nan_and_counts_as_nothing_in_the_choice() -> None:
    summary = constant(**dict.fromkeys(NAMES, 0.5))
    scores = {**summary.scores, "synthetic_data_check": Score.of([Skip.WRONG_ANSWER], EVERY)}
    summary = Summary(scores)
    scores["distractibility"].values[0, 3] = 0.6
    assert summary.best == 3
    found = of_all(summary, summary.best)
    assert np.isnan([found["completeness"], found["mean"]]).all()
    assert found["distractibility"] == 0.6


def test_all_of_it_on_two_images() -> None:
    """The model sees part 0 alone and the explanation names it: complete, save that removing part 1 does nothing."""
    classes = ClassParts(np.array([[0, 0], [1, 1]]))
    kept = np.array([[0.5, 0.0], [0.0, 2.0], [0.5, 0.0], [0.0, 2.0]])
    trials = [Trial(1, kept[-1], kept, np.array([[0.0, 2.0], [0.0, 1.0]])), Trial(0, kept[-1], kept, np.zeros((0, 2)))]
    parts, objects = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.3], [0.0, 0.0]])
    found = [Importance(parts, objects, np.array([0.0, 2.0])), Importance(parts, np.zeros((0, 2)), np.ones(2))]
    summary = summarise(trials, found, classes)
    # Object 0 holds 0.15 of the evidence, and does nothing: from a threshold of 0.15 on, nothing distracts.
    assert THRESHOLDS[summary.best - 1] < 0.15 <= THRESHOLDS[summary.best]
    best, fixed = (of_all(summary, column, 2) for column in (summary.best, summary.fixed))
    assert best["distractibility"] == 1.0
    assert fixed["distractibility"] == pytest.approx((0.5 + 1.0) / 2)
    assert summary.scores["synthetic_data_check"].n == 1
    assert (best["synthetic_data_check"], best["preservation_check"], best["deletion_check"]) == (1.0, 1.0, 1.0)
    # Of the second image no part holds anything for class 0.
    assert summary.scores["single_deletion"].skipped == {Skip.CONSTANT: 1}
    assert (summary.behind("completeness").n, summary.behind("correctness").n, summary.behind("mean").n) == (1, 1, 0)
    model = of_model(trials)
    assert (model["accuracy"].value.tolist(), model["background_independence"].value.tolist()) == ([0.5], [0.5])


def test_background_independence_pools_the_objects_of_all_images() -> None:
    kept = np.array([[0.0, 1.0], [0.0, 1.0]])
    one = Trial(1, kept[-1], kept, np.array([[0.0, 0.5]]))
    three = Trial(1, kept[-1], kept, np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 0.5]]))
    assert of_model([one, three])["background_independence"].value.tolist() == [0.5]


def test_the_fixed_threshold_lies_between_those_of_the_protocol() -> None:
    assert THRESHOLDS[0] < FIXED < THRESHOLDS[-1]
