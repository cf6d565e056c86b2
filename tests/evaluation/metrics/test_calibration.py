"""Calibration against a hand-worked diagram and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from protoquant.core.errors import DataError
from protoquant.evaluation.metrics.accuracy import rank, softmax
from protoquant.evaluation.metrics.calibration import bin_of, error_of, reliability


def test_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.6, 0.3])
    correct = np.array([1.0, 0.0, 1.0, 0.0])
    found = reliability(confidence, correct, 2)
    # Lower half: one image, confidence 0.3, accuracy 0. Upper half: mean confidence 2.3 / 3, accuracy 2 / 3.
    assert found.count.tolist() == [1, 3]
    assert found.confidence == pytest.approx([0.3, 2.3 / 3])
    assert found.accuracy == pytest.approx([0.0, 2 / 3])
    assert found.error == pytest.approx(0.25 * 0.3 + 0.75 * (2.3 / 3 - 2 / 3))


def test_edges_and_empty_bins() -> None:
    assert bin_of(np.array([0.0, 0.2499, 0.25, 0.75, 1.0]), 4).tolist() == [0, 0, 1, 3, 3]
    found = reliability(np.array([1.0, 1.0]), np.array([1.0, 0.0]), 4)
    assert found.table().to_dict("list") == {"confidence": [1.0], "accuracy": [0.5], "count": [2]}
    assert found.error == 0.5


def test_a_confidence_of_one_belongs_to_the_last_bin_unlike_in_torchmetrics() -> None:
    """Two bins, both images in the upper one: mean confidence 0.8, accuracy 0.5, error 0.3.

    torchmetrics gives the confidence of exactly 1.0 a bin of its own: 0.5 * |0 - 1.0| + 0.5 * |1 - 0.6| = 0.7. Just
    below 1.0 both agree, so it is only the edge that differs.
    """
    labels, correct = torch.tensor([1, 0]), np.array([0.0, 1.0])

    def both(confidence: list[float]) -> tuple[float, float]:
        shares = torch.tensor([[sure, 1 - sure] for sure in confidence], dtype=torch.float64)
        theirs = multiclass_calibration_error(shares, labels, num_classes=2, n_bins=2, norm="l1")
        ours = reliability(np.array(confidence), correct, 2).error
        assert error_of(np.array(confidence), correct, 2)(np.arange(2)[None])[0] == pytest.approx(ours)
        return ours, float(theirs)

    assert both([1.0, 0.6]) == pytest.approx((0.3, 0.7))
    assert both([1.0 - 1e-6, 0.6]) == pytest.approx((0.3, 0.3), abs=1e-5)


def test_logits_are_refused() -> None:
    with pytest.raises(DataError, match=r"confidence must lie in \[0, 1\]"):
        bin_of(np.array([0.2, 3.0]), 4)


@given(seed=st.integers(0, 10_000), bins=st.integers(2, 30))
def test_equals_torchmetrics(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, labels = softmax(rng.normal(size=(80, 4)) * 2), rng.integers(0, 4, 80)
    ranking = rank(probabilities)
    confidence, correct = probabilities.max(axis=1), ranking.hits(labels, 1)
    expected = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), num_classes=4, n_bins=bins, norm="l1"
    )
    assert reliability(confidence, correct, bins).error == pytest.approx(float(expected), abs=1e-6)
    everything = error_of(confidence, correct, bins)(np.arange(80)[None])
    assert everything == pytest.approx([reliability(confidence, correct, bins).error])


def test_statistic_of_a_resample_is_the_error_of_that_resample() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(30), rng.integers(0, 2, 30).astype(float)
    samples = rng.integers(0, 30, (5, 30))
    expected = [reliability(confidence[s], correct[s], 7).error for s in samples]
    assert error_of(confidence, correct, 7)(samples) == pytest.approx(expected)
