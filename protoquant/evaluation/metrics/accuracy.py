"""Accuracy, ties, confusion and the table of classes, from logits and labels."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from protoquant.core.errors import DataError, ShapeError


@dataclass(frozen=True)
class Ranking:
    """Classes of every image from the largest logit down.

    Attributes:
        order: Class indices (n, m), m = min(5, c); equal logits in class order.
        tied: (n,) whether the largest logit belongs to more than one class.
    """

    order: Int[np.ndarray, "n m"]
    tied: Bool[np.ndarray, " n"]

    @property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The class with the largest logit; the lower index where tied."""
        return self.order[:, 0]

    def hits(self, labels: Int[np.ndarray, " n"], m: int) -> Float[np.ndarray, " n"]:
        """1.0 where the true class is among the m largest logits, else 0.0."""
        found: Bool[np.ndarray, " n"] = (self.order[:, :m] == labels[:, None]).any(axis=1)
        return found.astype(np.float64)


def rank(logits: Float[np.ndarray, "n c"], depth: int = 5) -> Ranking:
    """Order the classes of every image by logit, ties by class index.

    Args:
        logits: Any finite values (n, c).
        depth: Number of classes to keep per image; fewer where c is smaller.

    Returns:
        The ranking and which images have no unique maximum.

    Raises:
        ShapeError: logits is not a matrix with at least two columns.
        DataError: A logit is NaN or infinite.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError(f"logits must have shape (n, c) with c >= 2, got {logits.shape}")
    if not np.isfinite(logits).all():
        raise DataError("logits must be finite, got NaN or infinity; check the bundle with `protoquant verify`")
    order = np.argsort(-logits, axis=1, kind="stable")[:, :depth]
    tied = (logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return Ranking(order.astype(np.int64), tied)


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Class probabilities of every image, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponential = np.exp(shifted)
    probabilities: Float[np.ndarray, "n c"] = exponential / exponential.sum(axis=1, keepdims=True)
    return probabilities


def confusion(labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], c: int) -> Int[np.ndarray, "c c"]:
    """Count images by true class (rows) and predicted class (columns)."""
    counts: Int[np.ndarray, "c c"] = np.bincount(labels * c + predicted, minlength=c * c).reshape(c, c)
    return counts


def class_table(
    matrix: Int[np.ndarray, "c c"], classes: tuple[str, ...], prototypes: Int[np.ndarray, " c"]
) -> pd.DataFrame:
    """The table of classes: support, precision, recall, prototypes.

    Args:
        matrix: Confusion counts, true classes in rows.
        classes: Class names by index.
        prototypes: Non-zero head weights of every class.

    Returns:
        One row per class: label, class_name, support, predicted, precision, recall, prototypes. Precision of a class
        never predicted, and recall of a class without images, are missing (NaN), not 0.
    """
    right, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return pd.DataFrame(
        {
            "label": np.arange(len(classes), dtype=np.int64),
            "class_name": list(classes),
            "support": support.astype(np.int64),
            "predicted": predicted.astype(np.int64),
            "precision": np.where(predicted > 0, right / np.maximum(predicted, 1), np.nan),
            "recall": np.where(support > 0, right / np.maximum(support, 1), np.nan),
            "prototypes": prototypes.astype(np.int64),
        }
    )
