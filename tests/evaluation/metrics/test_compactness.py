"""Sizes counted by hand."""

import numpy as np
import pytest

from protoquant.core.errors import ShapeError
from protoquant.evaluation.metrics.compactness import class_sizes, cover_size, head_size, local_size

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
