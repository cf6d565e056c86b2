"""Sizes counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import ShapeError
from protoquant.evaluation.metrics.compactness import (
    clamped_answers,
    class_sizes,
    cover_size,
    head_size,
    importance,
    local_size,
    public_sizes,
    weight_sizes,
)

HEAD = np.array([[0.0, 2.0, 0.5, 0.0], [0.0, 1e-9, 0.0, 0.0]])


def test_head_size_by_hand() -> None:
    size = head_size(HEAD)
    assert size.sparsity == pytest.approx(5 / 8)
    assert size.class_size == pytest.approx(1.5)
    assert (size.class_size_min, size.class_size_max, size.global_size) == (1, 2, 2)
    assert class_sizes(HEAD).tolist() == [2, 1]


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 0)])
def test_head_must_be_a_matrix(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"head must have shape \(c, k\)"):
        head_size(np.zeros(shape))


def test_local_size_counts_above_epsilon_only() -> None:
    assert local_size(np.array([0.5, 0.001, 0.0011, 0.0]), 0.001) == 2


@pytest.mark.parametrize(
    ("contributions", "cover", "size"),
    [
        ([6.0, 3.0, 1.0], 0.9, 2),
        ([1.0, 3.0, 6.0], 0.91, 3),
        ([6.0, 3.0, 1.0], 0.6, 1),
        ([6.0, 3.0, 1.0, 0.0], 1.0, 3),
        ([0.1] * 10, 0.8, 8),
        ([0.0, 0.0], 0.9, 0),
        ([5.0], 0.5, 1),
    ],
)
def test_cover_size_by_hand(contributions: list[float], cover: float, size: int) -> None:
    assert cover_size(np.array(contributions), cover) == size
    assert cover_size(10 * np.array(contributions), cover) == size


PUBLIC = np.array([[0.0, 2.0, 0.05, 0.0005], [0.2, 0.3, 0.0, 0.0]])


def test_weights_by_the_thresholds_of_public_code() -> None:
    """Above 0.1: one of the first class, two of the second; above 0.001: four of eight; positive: all prototypes."""
    found = weight_sizes(PUBLIC)
    assert (found.pq_local, found.pq_local_min, found.pq_local_max) == (1.5, 1, 2)
    assert (found.pq_global, found.pq_global_any, found.pip_global) == (2, 4, 3)
    assert found.pip_sparsity == pytest.approx(0.5)
    assert importance(PUBLIC) == pytest.approx([0.1, 1.15, 0.025, 0.00025])
    assert found.pq_importance_mean == pytest.approx((0.1 + 1.15 + 0.025 + 0.00025) / 4)
    assert found.pq_importance_max == pytest.approx(1.15)


def test_a_head_without_weights_has_no_size() -> None:
    found = weight_sizes(np.zeros((2, 3)))
    assert (found.pq_local, found.pq_global_any, found.pip_sparsity, found.pq_importance_max) == (0.0, 0, 1.0, 0.0)


def test_clamped_answers_by_hand() -> None:
    scores = np.array([[0.6, 0.0, 0.0, 0.9], [0.0, 0.5, 0.5, 0.0], [0.0, 0.09, 0.05, 0.0]], dtype=np.float32)
    found = clamped_answers(scores, PUBLIC)
    assert found.predicted.tolist() == [1, 0, 0]
    # Third image: nothing is left, so class 0 by order. First: 0.9 * 0.0005 is below 0.001.
    assert found.local.tolist() == [1, 2, 0]
    assert found.anywhere.tolist() == [1, 2, 0]
    assert found.active.tolist() == [2, 2, 0]


def test_public_sizes_join_both() -> None:
    scores = np.array([[0.6, 0.0, 0.0, 0.9], [0.0, 0.5, 0.5, 0.0], [0.0, 0.09, 0.05, 0.0]], dtype=np.float32)
    weights, per_image = public_sizes(scores, PUBLIC, np.array([1, 1, 0]))
    assert weights == weight_sizes(PUBLIC)
    assert {name: values.tolist() for name, values in per_image.items()} == {
        "pip_local": [1.0, 2.0, 0.0],
        "pip_local_all": [1.0, 2.0, 0.0],
        "pip_active": [2.0, 2.0, 0.0],
        "clamped_top1": [1.0, 0.0, 1.0],
    }


def test_a_code_without_a_weight_is_no_prototype_and_never_active() -> None:
    assert clamped_answers(np.array([[0.9, 0.9]]), np.array([[1.0, 0.0], [0.5, 0.0]])).active.tolist() == [1]


def test_clamping_can_change_the_answer() -> None:
    """0.18 against 0.087 for class 0; without the presence of 0.09 0 against 0.06."""
    scores = np.array([[0.3, 0.09, 0.0, 0.0]])
    assert (scores @ PUBLIC.T).argmax(axis=1).tolist() == [0]
    assert clamped_answers(scores, PUBLIC).predicted.tolist() == [1]


@given(seed=st.integers(0, 1000), n=st.integers(2, 8))
def test_sizes_per_image_do_not_depend_on_the_batch(seed: int, n: int) -> None:
    """PIP-Net's own count of all classes does; nothing is written either."""
    rng = np.random.default_rng(seed)
    scores, head = rng.random((n, 6)), np.maximum(rng.normal(size=(3, 6)), 0.0)
    before = scores.copy(), head.copy()
    whole = clamped_answers(scores, head)
    parts = [clamped_answers(scores[image : image + 1], head) for image in range(n)]
    for name in ("predicted", "local", "anywhere", "active"):
        assert getattr(whole, name).tolist() == [getattr(part, name)[0] for part in parts]
    assert (whole.local <= whole.anywhere).all()
    assert np.array_equal(before[0], scores)
    assert np.array_equal(before[1], head)
