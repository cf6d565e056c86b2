import numpy as np
import pytest

from protoquant.evaluation.metrics.evidence import evidence_off, mean_object_share, off, ratio_of
from protoquant.evaluation.places.patches import Patches

SHARE = np.array([[0.0, 0.5], [0.1, 0.05]], dtype=np.float32)


def test_a_box_is_off_below_a_tenth() -> None:
    assert off(SHARE).tolist() == [[True, False], [False, True]]


def test_the_mean_share_of_object_of_each_prototype() -> None:
    patches = Patches(np.array([0, 0, 2]), np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    mean = mean_object_share(patches, SHARE)
    assert mean[[0, 2]].tolist() == pytest.approx([0.25, 0.05])
    assert np.isnan(mean[1])


def test_evidence_off_by_hand() -> None:
    scores = np.array([[1.0, 0.5], [0.5, 1.0]], dtype=np.float32)
    cells, weights = np.array([[0, 1], [0, 1]]), np.array([[3.0, 2.0], [4.0, 0.0]])
    beside, total = evidence_off(scores, cells, weights, SHARE)
    assert beside.tolist() == [3.0, 0.0]
    assert total.tolist() == [4.0, 2.0]
    assert ratio_of(beside, total)(np.array([[0, 1], [0, 0], [1, 1]])).tolist() == [0.5, 0.75, 0.0]


def test_images_without_evidence_have_none_beside_the_object() -> None:
    nothing = np.zeros(2)
    assert ratio_of(nothing, nothing)(np.array([[0, 1]])).tolist() == [0.0]
