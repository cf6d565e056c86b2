import numpy as np
import pytest

from protoquant.analysis.drift.classes import compare_classes, mix
from protoquant.analysis.drift.numbers import compare
from tests.builders.references import counts


def test_what_a_class_loses_and_by_which_prototypes():
    parts = compare(
        (0, 2, 3), counts(train=(200, [100, 40, 20]), validation=(100, [50, 10, 10]), now=(100, [0, 20, 40]))
    )
    assert [part.verdict for part in parts] == ["vanished", "steady", "more frequent"]
    head = np.array([[2.0, 9.0, 0.0, 0.0], [0.0, 9.0, 1.0, 3.0], [1.0, 0.0, 0.0, 1.0]])
    found = compare_classes(parts, head, np.array([1, 1, 2]), np.array([0, 3, 1]))
    assert [one.label for one in found] == [0, 2, 1]
    auk, crane, bee = found
    full = 19 / 20
    assert auk.loss == pytest.approx(2 * 0.5 * full)
    assert auk.score == pytest.approx(2 * 0.5 * full)
    assert auk.by == ((0, pytest.approx(auk.loss)),)
    assert (auk.validation, auk.now, auk.hit) == (0.25, 0.0, True)
    assert crane.loss == pytest.approx((0.5 - 0.3) * full)
    assert crane.by == ((0, pytest.approx(0.5 * full)),)
    assert crane.hit
    assert bee.loss == pytest.approx(-3 * 0.3 * full)
    assert bee.yardstick == pytest.approx(0.1 * full)
    assert (bee.by, bee.hit) == ((), False)


def test_a_class_that_loses_no_more_than_on_validation_is_not_hit():
    """Code 0 vanished and takes 0.5 from both classes; code 1 is as in training, but was rare on validation."""
    parts = compare((0, 1), counts(train=(200, [100, 160]), validation=(100, [50, 10]), now=(100, [0, 80])))
    assert [part.verdict for part in parts] == ["vanished", "steady"]
    found = compare_classes(parts, np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1, 1]), np.array([1, 1]))
    assert [one.loss for one in found] == pytest.approx([0.5 * 19 / 20] * 2)
    assert [one.yardstick for one in found] == pytest.approx([0.0, 0.7 * 19 / 20])
    assert [one.hit for one in found] == [True, False]


def test_the_mix_of_classes():
    distance, p_value = mix(np.array([50, 50, 0, 0]), np.array([100, 0, 100, 0]))
    assert distance == 0.5
    assert p_value < 1e-6
    assert mix(np.array([5, 5]), np.array([10, 10])) == (0.0, pytest.approx(1.0))
    assert mix(np.array([5, 0]), np.array([9, 0])) == (0.0, pytest.approx(1.0))
