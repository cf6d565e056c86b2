import numpy as np
import pytest

from protoquant.doctor.inspections.cross_fit import FOLDS, by_class, folds, told

LABELS = np.repeat(np.arange(3), 20)


def test_each_class_is_dealt_to_the_folds_in_turn():
    assert folds(np.array([1, 0, 1, 1, 0, 1, 1, 1])).tolist() == [0, 0, 1, 2, 1, 3, 4, 0]


def test_recall_and_gain_by_hand():
    recall, gains = by_class(np.array([0, 0, 1, 1, 0]), np.array([0, 0, 0, 1, 1]))
    assert recall == pytest.approx([2 / 3, 1 / 2])
    assert gains == pytest.approx([2 / 3 - 1 / 2, 1 / 2 - 1 / 3])


def test_a_number_of_the_class_tells_it_though_not_in_order():
    values = np.array([5.0, 1.0, 3.0])[LABELS][:, None] + np.random.default_rng(0).normal(0, 0.1, (60, 1))
    found = told(values, LABELS)
    assert found.accuracy.value == 1.0
    assert found.accuracy.shuffled == pytest.approx(1 / 3, abs=0.05)
    assert found.accuracy.deviations > 8
    assert found.right.all()


def test_noise_tells_nothing_and_classes_of_other_sizes_are_no_help():
    labels = np.repeat(np.arange(3), [60, 20, 10])
    found = told(np.random.default_rng(1).normal(size=(90, 8)), labels)
    assert abs(found.accuracy.deviations) < 3
    assert abs(found.best.deviations) < 4


def test_one_class_of_many_is_told_by_its_gain():
    labels = np.repeat(np.arange(20), 2 * FOLDS)
    values = np.random.default_rng(2).normal(size=(len(labels), 3)) + 30 * (labels == 7)[:, None]
    found = told(values, labels)
    assert int(found.gains.argmax()) == 7
    assert found.best.value > 0.9
    assert found.accuracy.value < 0.2


def test_a_constant_column_counts_for_nothing():
    values = np.random.default_rng(3).normal(size=(60, 2))
    one, other = told(values, LABELS), told(np.hstack([values, np.ones((60, 1))]), LABELS)
    assert one.accuracy == other.accuracy
