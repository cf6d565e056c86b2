"""Each protocol worked out by hand on a world of three classes and two parts, or of five classes and four parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from protoquant.core.errors import ShapeError
from protoquant.evaluation.metrics.funnybirds import protocols
from protoquant.evaluation.metrics.funnybirds.classes import ClassParts
from protoquant.evaluation.metrics.funnybirds.scores import Skip
from protoquant.evaluation.metrics.funnybirds.summary import BY_THRESHOLD, WITHOUT_THRESHOLD
from protoquant.evaluation.metrics.funnybirds.trial import Importance, Trial, felt, set_number

# Class 0 is told by part 1, class 2, the last, by part 0, class 1 by both.
CLASSES = ClassParts(np.array([[0, 0], [0, 1], [1, 1]]))
AT = np.array([0.2, 0.4, 0.6])
NO_OBJECTS = np.zeros((0, 3))
# Rows: no part kept, part 0, part 1, both. Without part 0 class 2 falls below class 1.
KEPT = np.array([[0.0, 0.5, 0.0], [0.0, 0.5, 1.8], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])


def trial(label: int = 2, kept: np.ndarray = KEPT, without_object: np.ndarray = NO_OBJECTS) -> Trial:
    return Trial(label, kept[-1], kept, without_object)


def importance(parts: list[list[float]], objects: list[list[float]] | None = None, total: float = 1.0) -> Importance:
    """The same for every class, where a part is given one number."""
    held = np.array(parts) * np.ones(3)
    return Importance(held, np.array(objects or np.zeros((0, 1))) * np.ones(3), np.full(3, total))


def test_sets_are_numbered_by_the_parts_that_are_kept() -> None:
    assert set_number(np.array([[False, False], [True, False], [False, True], [True, True]])).tolist() == [0, 1, 2, 3]
    assert trial().without_part.tolist() == [[0.0, 2.0, 1.0], [0.0, 0.5, 1.8]]


@pytest.mark.parametrize("sets", [0, 1, 3, 6])
def test_every_set_of_parts_must_be_there(sets: int) -> None:
    with pytest.raises(ShapeError, match=f"2\\^p sets of parts, got {sets} rows"):
        Trial(0, np.zeros(3), np.zeros((sets, 3)), NO_OBJECTS)


def test_a_removal_is_felt_from_a_twentieth() -> None:
    assert felt(2.0, np.array([1.89, 1.91, 2.5, 2.0])).tolist() == [True, False, False, False]
    assert felt(-2.0, np.array([-2.11, -2.05, -1.0])).tolist() == [True, False, False]
    assert felt(0.0, np.array([0.0, 1.0, -1.0])).tolist() == [False, False, True]


def test_important_is_more_than_a_share_of_all_evidence() -> None:
    found = importance([[0.3], [0.6]], [[0.5]], total=1.5)
    # Limits 0.3, 0.6 and 0.9: a share must be exceeded, not reached.
    assert found.important_parts(0, AT).tolist() == [[False, True], [False, False], [False, False]]
    assert found.important_parts(0, AT, with_objects=True)[0].tolist() == [False, True, True]


@pytest.mark.parametrize("total", [0.0, -1.0])
def test_without_positive_evidence_nothing_is_important(total: float) -> None:
    assert not importance([[0.3], [-0.1]], total=total).important_parts(0, AT).any()


def test_accuracy_and_its_tie() -> None:
    assert protocols.accuracy(trial(2)) == 1.0
    assert protocols.accuracy(trial(1)) == 0.0
    tied = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    assert [protocols.accuracy(trial(label, tied)) for label in (0, 1)] == [1.0, 0.0]


def test_background_independence_counts_objects_that_lower_the_true_class() -> None:
    # Class 2 has 2.0: it falls by 0.5, by 0.05 (too little), rises, and falls by a tenth.
    without = np.array([[0.0, 0.0, 1.5], [9.0, 9.0, 1.95], [0.0, 0.0, 2.5], [0.0, 0.0, 1.8]])
    assert protocols.background_independence(trial(without_object=without)) == 0.5
    assert protocols.background_independence(trial()) is Skip.NO_OBJECT


def test_synthetic_data_check_of_the_last_class_by_hand() -> None:
    """Class 2 is told by part 0 alone, which holds 0.5 of the evidence: important up to a threshold of 0.5."""
    found = protocols.synthetic_data_check(trial(), importance([[0.5], [0.3]]), CLASSES, AT)
    assert np.asarray(found).tolist() == [1.0, 1.0, 0.0]


def test_synthetic_data_check_is_the_best_recall_of_any_sufficient_set() -> None:
    kept = np.array([[0.0, 1.0, 0.0]] * 4)
    found = protocols.synthetic_data_check(trial(1, kept), importance([[0.5], [0.3]]), CLASSES, AT)
    assert np.asarray(found).tolist() == [1.0, 0.5, 0.0]
    several = ClassParts(np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1]]))
    kept = np.array([[0.0, 0.0, 1.0]] * 8)
    # Class 2 is told by part 0, or by parts 1 and 2: with part 2 alone half of the second set is found.
    found = protocols.synthetic_data_check(trial(2, kept), importance([[0.1], [0.1], [0.5]]), several, AT)
    assert np.asarray(found).tolist() == [0.5, 0.5, 0.0]


def test_synthetic_data_check_skips_wrong_answers_and_classes_without_a_sufficient_set() -> None:
    found = importance([[0.5], [0.3]])
    assert protocols.synthetic_data_check(trial(1), found, CLASSES, AT) is Skip.WRONG_ANSWER
    twins = ClassParts(np.array([[0, 0], [1, 1], [1, 1]]))
    assert protocols.synthetic_data_check(trial(2), found, twins, AT) is Skip.NO_SUFFICIENT_SET


def test_preservation_and_deletion_by_hand() -> None:
    """Both parts are important, then part 0, then none: part 0 alone keeps class 2, and without it class 1 wins."""
    found, none_kept = importance([[0.5], [0.3]]), KEPT[0].argmax()
    assert none_kept == 1
    assert np.asarray(protocols.preservation_check(trial(), found, CLASSES, AT)).tolist() == [1.0, 1.0, 0.0]
    assert np.asarray(protocols.deletion_check(trial(), found, CLASSES, AT)).tolist() == [1.0, 1.0, 0.0]
    other = importance([[0.3], [0.5]])
    assert np.asarray(protocols.preservation_check(trial(), other, CLASSES, AT)).tolist() == [1.0, 0.0, 0.0]
    assert np.asarray(protocols.deletion_check(trial(), other, CLASSES, AT)).tolist() == [1.0, 0.0, 0.0]


def test_checks_are_of_the_predicted_class_even_where_it_is_wrong() -> None:
    of_classes = Importance(np.array([[0.0, 0.9, 0.5], [0.0, 0.9, 0.3]]), np.zeros((0, 3)), np.ones(3))
    assert np.asarray(protocols.preservation_check(trial(0), of_classes, CLASSES, AT)).tolist() == [1.0, 1.0, 0.0]


def test_distractibility_by_hand() -> None:
    """The removal of either part is felt by class 2, as that of object 1; objects 0 and 2 are irrelevant."""
    without = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    found = importance([[0.9], [0.9]], [[0.3], [0.9], [0.5]])
    spared = protocols.distractibility(trial(without_object=without), found, CLASSES, AT)
    # These hold 0.3 and 0.5 of the evidence.
    assert np.asarray(spared).tolist() == [0.0, 0.5, 1.0]
    assert protocols.distractibility(trial(), importance([[0.9], [0.9]]), CLASSES, AT) is Skip.NOTHING_IRRELEVANT


def test_single_deletion_is_a_rank_correlation() -> None:
    # Removing part 0 takes 1.0 from class 2, part 1 takes 0.2.
    assert protocols.single_deletion(trial(), importance([[9.0], [1.0]]), CLASSES, AT) == pytest.approx(1.0)
    assert protocols.single_deletion(trial(), importance([[1.0], [9.0]]), CLASSES, AT) == pytest.approx(0.0)
    assert protocols.single_deletion(trial(), importance([[1.0], [1.0]]), CLASSES, AT) is Skip.CONSTANT


def test_single_deletion_with_ties_is_scipys() -> None:
    kept = np.zeros((8, 3))
    kept[[6, 5, 3], 2] = [1.0, 1.0, 0.5]  # without part 0, 1, 2
    kept[7, 2] = 2.0
    found = protocols.single_deletion(trial(2, kept), importance([[0.0], [0.1], [0.0]]), CLASSES, AT)
    assert found == pytest.approx((stats.spearmanr([0.0, 0.1, 0.0], [1.0, 1.0, 1.5]).statistic + 1) / 2)


FOUR = ClassParts(np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]]))
OWN = np.array([[0.6, 0.1], [0.2, 0.1], [0.1, 0.5], [0.1, 0.5]])


def targets(parts: np.ndarray, without_own: float = 0.0, without_other: float = 1.0) -> protocols.Outcome:
    """Class 1 shares parts 0 and 1 with class 0, class 2 parts 2 and 3; evidence of the two classes for each part."""
    kept = np.ones((16, 3))
    kept[0b1100, 1:] = [without_own, without_other]
    kept[0b0011, 1:] = [without_other, without_own]
    found = Importance(np.column_stack([np.zeros(4), parts]), np.zeros((0, 3)), np.ones(3))
    return protocols.target_sensitivity(trial(0, kept), found, FOUR, AT)


def test_target_sensitivity_counts_two_votes() -> None:
    assert targets(OWN) == 1.0
    assert targets(OWN[:, ::-1]) == 0.0
    # Parts 0 and 1 are as important to both classes: a tie is no vote.
    assert targets(np.array([[0.4, 0.1], [0.0, 0.3], [0.1, 0.5], [0.1, 0.5]])) == 0.5


def test_target_sensitivity_asks_only_where_the_model_tells_the_classes_apart() -> None:
    assert targets(OWN, 1.0, 0.0) is Skip.OTHER_RESPONSE
    assert targets(OWN, 1.0, 1.0) is Skip.OTHER_RESPONSE
    no_pair = ClassParts(np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]]))
    kept = np.ones((16, 3))
    assert protocols.target_sensitivity(trial(0, kept), importance([[0.1]] * 4), no_pair, AT) is Skip.NO_PAIR


def numbers(*shape: int, low: float = -3.0) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape, elements=st.floats(low, 3.0, width=16))


@given(
    variants=arrays(np.int64, (3, 4), elements=st.integers(0, 2)),
    label=st.integers(0, 2),
    kept=numbers(16, 3),
    without=st.integers(0, 3).flatmap(lambda o: numbers(o, 3)),
    held=numbers(5, 3),
)
def test_every_outcome_is_a_skip_or_lies_between_0_and_1(
    variants: np.ndarray, label: int, kept: np.ndarray, without: np.ndarray, held: np.ndarray
) -> None:
    one, classes = Trial(label, kept[-1], kept, without), ClassParts(variants)
    found = Importance(held[:4], without / 10, held[4])
    explained = [run(one, found, classes, AT) for run in {**BY_THRESHOLD, **WITHOUT_THRESHOLD}.values()]
    for outcome in (*explained, protocols.accuracy(one), protocols.background_independence(one)):
        if not isinstance(outcome, Skip):
            assert ((np.asarray(outcome) >= -1e-12) & (np.asarray(outcome) <= 1 + 1e-12)).all()


@given(kept=numbers(16, 3, low=0.0), parts=numbers(4, 3, low=0.0), scale=st.sampled_from([0.5, 2.0, 8.0]))
def test_scores_do_not_depend_on_the_unit_of_the_evidence(kept: np.ndarray, parts: np.ndarray, scale: float) -> None:
    one, total = Trial(0, kept[-1], kept, NO_OBJECTS), parts.sum(axis=0)
    for protocol in {**BY_THRESHOLD, **WITHOUT_THRESHOLD}.values():
        small, large = (
            protocol(one, Importance(parts * unit, np.zeros((0, 3)), total * unit), FOUR, AT) for unit in (1.0, scale)
        )
        np.testing.assert_array_equal(np.asarray(small), np.asarray(large))
