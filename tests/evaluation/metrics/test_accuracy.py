"""Accuracy against hand-worked cases, scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torchmetrics.functional.classification import multiclass_accuracy

from protoquant.core.errors import DataError, ShapeError
from protoquant.evaluation.metrics.accuracy import class_table, confusion, rank, softmax
from protoquant.evaluation.metrics.intervals import macro_of


def test_ties_go_to_the_lower_index_and_are_counted() -> None:
    ranking = rank(np.array([[0.0, 0.0, 0.0], [1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]))
    assert ranking.predicted.tolist() == [0, 1, 0]
    assert ranking.tied.tolist() == [True, True, False]
    assert ranking.hits(np.array([2, 2, 0]), 1).tolist() == [0.0, 0.0, 1.0]
    assert ranking.hits(np.array([2, 2, 0]), 2).tolist() == [0.0, 1.0, 1.0]
    assert ranking.hits(np.array([0, 1, 0]), 1).tolist() == [1.0, 1.0, 1.0]


def test_depth_stops_at_the_number_of_classes() -> None:
    assert rank(np.zeros((2, 3))).order.shape == (2, 3)
    assert rank(np.zeros((2, 9))).order.shape == (2, 5)


@pytest.mark.parametrize(
    ("logits", "error", "text"),
    [
        (np.zeros((3, 1)), ShapeError, r"c >= 2, got \(3, 1\)"),
        (np.zeros(3), ShapeError, r"got \(3,\)"),
        (np.array([[0.0, np.nan]]), DataError, "finite"),
        (np.array([[0.0, np.inf]]), DataError, "finite"),
    ],
)
def test_bad_logits_are_refused(logits: np.ndarray, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        rank(logits)


@given(seed=st.integers(0, 10_000), c=st.integers(2, 8))
def test_equals_scikit_learn_and_torchmetrics(seed: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(40, c)), np.concatenate([np.arange(c), rng.integers(0, c, 40 - c)])
    ranking = rank(logits)
    m = min(5, c)
    top = ranking.hits(labels, m).mean()
    assert top == pytest.approx(oracle.top_k_accuracy_score(labels, logits, k=m, labels=range(c)) if m < c else 1.0)
    macro = macro_of(ranking.hits(labels, 1), labels, c)(np.arange(40)[None])[0]
    ours = torch.tensor(logits), torch.tensor(labels)
    assert macro == pytest.approx(float(multiclass_accuracy(*ours, num_classes=c, average="macro")), abs=1e-6)
    assert macro == pytest.approx(oracle.balanced_accuracy_score(labels, ranking.predicted))
    matrix = confusion(labels, ranking.predicted, c)
    assert (matrix == oracle.confusion_matrix(labels, ranking.predicted, labels=range(c))).all()


def test_class_table_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    table = class_table(confusion(labels, predicted, 4), ("a", "b", "c", "d"), np.array([1, 0, 3, 2]))
    precision, recall, _, support = oracle.precision_recall_fscore_support(labels, predicted)
    assert table["precision"].to_numpy() == pytest.approx(precision)
    assert table["recall"].to_numpy() == pytest.approx(recall)
    assert table["support"].tolist() == support.tolist()
    assert table["prototypes"].tolist() == [1, 0, 3, 2]


def test_undefined_precision_and_recall_are_missing_not_zero() -> None:
    table = class_table(np.array([[2, 0, 0], [1, 0, 0], [0, 0, 0]]), ("a", "b", "c"), np.zeros(3, dtype=int))
    assert table["precision"].isna().tolist() == [False, True, True]
    assert table["recall"].isna().tolist() == [False, False, True]
    assert table["recall"].iloc[1] == 0.0


def test_softmax_is_stable() -> None:
    assert softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])) == pytest.approx(
        np.array([[0.5, 0.5], [0.25, 0.75]])
    )
