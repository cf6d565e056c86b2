import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks.questions import (
    Ledgers,
    auc_of,
    best_threshold,
    class_of_ledger,
    first_wins,
    region_matching,
    right_or_wrong,
)

D, P, N, M = 16, 40, 300, 3


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def world(seed, *, seen=1.0, generic=0.0):
    """Prototypes with patches, and ledgers whose regions show them as far as ``seen``.

    Wrong answers show nothing of theirs, and a runner-up never does. Regions of the predicted class and low prototypes
    lean towards one generic direction, so that without a fair control something other than the question is seen.
    """
    rng = np.random.default_rng(seed)
    common = unit(rng.normal(size=D))
    shown = unit(rng.normal(size=(P, D)) + generic * common * (np.arange(P) < 8)[:, None])
    codes = np.stack([rng.permutation(P)[: 2 * M].reshape(2, M) for _ in range(N)])
    if generic:
        codes[:, 0] = rng.integers(0, 8, (N, M))
    right = (rng.random(N) < 0.7).astype(float)
    share = seen * np.stack([np.where(right, 1.0, 0.3), np.full(N, 0.0)], axis=1)[:, :, None, None]
    lean = generic * np.array([1.0, 0.0])[None, :, None, None] * common
    regions = unit(share * shown[codes] + 0.3 * unit(rng.normal(size=(N, 2, M, D))) + lean)
    return Ledgers(codes, regions, rng.integers(0, 5, N), right), shown


OF_CLASS = np.random.default_rng(9).random((5, P)) < 0.4


def every_answer(ledgers, shown, seed=0):
    area, told = right_or_wrong(ledgers, ledgers, shown, seed)
    matching = [region_matching(ledgers, shown, of_class, seed) for of_class in (None, OF_CLASS)]
    return [*matching, class_of_ledger(ledgers, shown, seed), area, told]


def test_an_observer_that_sees_the_prototypes_answers_and_its_controls_are_at_chance():
    for one in every_answer(*world(0)):
        assert one.found.low > one.chance + 0.2, one.question
        assert one.control.low <= one.chance <= one.control.high, one.question
        assert len(one.items) == N


def test_an_observer_that_sees_nothing_is_at_chance():
    for one in every_answer(*world(1, seen=0.0)):
        if "threshold" not in one.question:  # chosen on the same images here, so that it sees noise
            assert one.found.low <= one.chance <= one.found.high, one.question


def test_controls_stay_at_chance_where_regions_and_prototypes_share_something_else():
    for one in every_answer(*world(2, seen=0.0, generic=2.0)):
        assert one.control.low <= one.chance <= one.control.high, one.question


def test_the_same_seed_gives_the_same_answers_and_another_other_ones():
    ledgers, shown = world(3, seen=0.2)
    first, again, other = (region_matching(ledgers, shown, None, seed).items for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_ledger_is_judged_by_its_mean_likeness_and_rows_that_are_not_there_do_not_count():
    shown = np.eye(2)
    regions = np.array([[[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [9.0, 9.0]]]])
    ledgers = Ledgers(np.array([[[0, 0], [1, -1]]]), regions, np.array([0]), np.array([1.0]))
    assert ledgers.likeness(shown).tolist() == [[0.5, 0.8]]
    assert class_of_ledger(ledgers, shown, 0).found.value == 0.0


def test_a_class_with_fewer_than_four_prototypes_gives_no_question_within_it():
    ledgers, shown = world(4)
    few = np.zeros((5, P), dtype=bool)
    few[0] = True
    asked = region_matching(ledgers, shown, few, 0)
    assert np.array_equal(np.isnan(asked.items), ledgers.classes != 0)
    assert asked.found.n == (ledgers.classes == 0).sum()


@pytest.mark.parametrize(("likeness", "value"), [([2, 1, 1], 1.0), ([1, 2, 1], 0.0), ([2, 2, 1], 0.5), ([1] * 4, 0.25)])
def test_a_tie_is_shared(likeness, value):
    assert first_wins(np.array(likeness, dtype=float)) == value


def test_area_and_threshold_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    right = (rng.random(60) < 0.6).astype(float)
    score = np.round(rng.normal(size=60) + right, 1)  # with ties
    positions = np.arange(60)
    assert auc_of(score, right)(positions[None])[0] == pytest.approx(roc_auc_score(right, score))
    assert auc_of(score, right)(positions[None, right > 0])[0] == 0.5
    merit = {least: balanced_accuracy_score(right, score >= least) for least in np.unique(score)}
    assert merit[best_threshold(score, right)] == pytest.approx(max(merit.values()))
    assert best_threshold(score, np.ones(60)) is None
