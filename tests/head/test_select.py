from dataclasses import replace

import pytest

from protoquant.core.errors import DataError
from protoquant.head.select import HeadCandidate, select


def head(nonzeros: int, top1: float, prototypes: int = 5, temperature: float = 0.1) -> HeadCandidate:
    return HeadCandidate(
        temperature=temperature,
        penalty=0.1,
        objective=1.0,
        residual=0.0,
        gap=0.0,
        iterations=1,
        epoch=0,
        refit_residual=0.0,
        refit_gap=0.0,
        refit_iterations=1,
        nonzeros=nonzeros,
        prototypes=prototypes,
        class_size=nonzeros / 10,
        train_top1=1.0,
        validation_top1=top1,
    )


def test_with_class_weights_balanced_accuracy_decides() -> None:
    heads = [replace(head(20, 0.9), balanced_accuracy=0.6), replace(head(10, 0.8), balanced_accuracy=0.7)]
    assert select(heads, tolerance=0.0, max_class_size=None) == 1
    assert select([head(20, 0.9), head(10, 0.8)], tolerance=0.0, max_class_size=None) == 0


@pytest.mark.parametrize(
    ("heads", "tolerance", "limit", "chosen"),
    [
        pytest.param([(10, 0.80), (20, 0.89), (30, 0.90)], 0.01, None, 1, id="sparsest within the tolerance"),
        pytest.param([(10, 0.80), (20, 0.89), (30, 0.90)], 0.0, None, 2, id="no tolerance: the best"),
        pytest.param([(10, 0.80), (20, 0.89), (30, 0.90)], 1.0, None, 0, id="any accuracy: the sparsest"),
        pytest.param([(0, 0.95), (20, 0.89)], 0.01, None, 1, id="an empty head never counts"),
        pytest.param([(30, 0.90), (20, 0.90)], 0.01, None, 1, id="order does not matter"),
        pytest.param([(21, 0.90, 8), (20, 0.90, 9)], 0.01, None, 1, id="fewer weights before fewer prototypes"),
        pytest.param([(20, 0.90, 9), (20, 0.90, 8)], 0.01, None, 1, id="then fewer prototypes"),
        pytest.param([(20, 0.895, 8), (20, 0.90, 8)], 0.01, None, 1, id="then the more accurate"),
        pytest.param([(20, 0.90, 8), (20, 0.90, 8)], 0.01, None, 0, id="then the first"),
        pytest.param([(10, 0.80), (20, 0.89), (99, 0.95)], 0.01, 3.0, 1, id="too large a head is not the best"),
        pytest.param([(10, 267 / 300), (20, 270 / 300)], 0.01, None, 0, id="exactly the tolerance is within"),
        pytest.param([(10, 149 / 300), (20, 152 / 300)], 0.01, None, 0, id="whatever the quotients round to"),
    ],
)
def test_rule(heads: list[tuple[int, float]], tolerance: float, limit: float | None, chosen: int) -> None:
    candidates = [head(*one) for one in heads]
    assert select(candidates, tolerance=tolerance, max_class_size=limit) == chosen


def test_all_empty() -> None:
    with pytest.raises(DataError, match=r"every head of the path is empty.*lower train\.temperature"):
        select([head(0, 0.1)], tolerance=0.01, max_class_size=None)


def test_limit_below_the_sparsest() -> None:
    with pytest.raises(DataError, match=r"train\.max_class_size must be >= 2\.00.*got 1\.5"):
        select([head(20, 0.9), head(30, 0.95)], tolerance=0.01, max_class_size=1.5)
