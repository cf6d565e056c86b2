import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from protoquant.analysis.diff.paired import mcnemar, paired
from protoquant.core.errors import DataError
from tests.builders.bundles import answering
from tests.builders.tokens import turned


def bundle(predicted, labels=(0, 0, 1, 1), classes=("owl", "wren"), ids=("a", "b", "c", "d")):
    return answering(turned(0, 90), torch.eye(2), predicted, labels=labels, classes=classes, ids=ids)


def test_images_that_tell_two_models_apart_are_counted_by_hand() -> None:
    found = paired(bundle((0, 1, 1, 0)), bundle((0, 0, 1, 1)))
    assert (found.n, found.gained, found.lost) == (4, 2, 0)
    assert (found.accuracy.before, found.accuracy.after, found.accuracy.change) == (0.5, 1.0, 0.5)
    assert found.accuracy.low <= 0.5 <= found.accuracy.high
    assert found.p_value == pytest.approx(0.5)  # two of two: 2 * 0.25
    assert found.calibration.before == pytest.approx(0.25)
    assert list(found.answers["before"]) == ["owl", "wren", "wren", "owl"]


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    labels, answers = (0, 0, 0, 1), {"before": (0, 0, 0, 0), "after": (0, 1, 0, 1)}
    found = paired(*(bundle(predicted, labels=labels) for predicted in answers.values())).balanced
    expected = [balanced_accuracy_score(labels, predicted) for predicted in answers.values()]
    assert expected == pytest.approx([1 / 2, (2 / 3 + 1) / 2])
    assert [found.before, found.after] == pytest.approx(expected)
    assert found.low <= found.change <= found.high


def test_each_model_is_held_to_its_own_confidence() -> None:
    sure, unsure = bundle((0, 0, 1, 1)), bundle((0, 0, 1, 1))
    sure.reference.answers["probability"] = 0.95
    found = paired(sure, unsure).calibration
    assert (found.before, found.after) == pytest.approx((0.05, 0.25))
    assert (found.low, found.change, found.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_order_of_images_and_the_numbers_of_classes_do_not_matter() -> None:
    renamed = bundle((0, 0, 1, 1), labels=(0, 0, 1, 1), classes=("wren", "owl"), ids=("c", "d", "a", "b"))
    same = paired(bundle((0, 0, 1, 1)), renamed)
    assert (same.gained, same.lost, same.p_value, same.accuracy.low, same.accuracy.high) == (0, 0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 9), (30, 3)])
def test_the_p_value_is_that_of_the_binomial_test(gained: int, lost: int) -> None:
    tail = stats.binom.cdf(min(gained, lost), gained + lost, 0.5)
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def test_other_images_or_classes_are_refused() -> None:
    with pytest.raises(DataError, match="4 and 4, of which 3 are the same"):
        paired(bundle((0, 0, 1, 1)), bundle((0, 0, 1, 1), ids=("a", "b", "c", "x")))
    with pytest.raises(DataError, match="of which 2 are the same"):
        paired(bundle((0, 0, 1, 1)), bundle((0, 0, 1, 1), classes=("owl", "finch")))
    with pytest.raises(DataError, match="keeps no validation answers"):
        paired(bundle((0, 0, 1, 1)), bundle(None))


def test_the_interval_is_of_pairs_not_of_two_samples() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    first = np.where(rng.random(400) < 0.7, labels, 1 - labels)
    second = first.copy()
    second[:4] = labels[:4]
    ids = [f"{number:03d}" for number in range(400)]
    found = paired(bundle(first, labels, ids=ids), bundle(second, labels, ids=ids)).accuracy
    assert found.high - found.low < 0.03  # two independent samples of 400 would give 0.12
