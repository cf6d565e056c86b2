"""Calibration: whether predictions with a confidence of 0.8 are right in 80 % of cases."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import NDArray

from protoquant.core.errors import DataError
from protoquant.evaluation.metrics.intervals import Statistic


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in equally wide bins of confidence.

    Attributes:
        confidence: Mean confidence of every bin (bins,); NaN where the bin is empty.
        accuracy: Share of right images of every bin (bins,); NaN where the bin is empty.
        count: Images of every bin (bins,).
    """

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    count: Int[np.ndarray, " bins"]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of accuracy from confidence, weighted by count."""
        distance = np.abs(np.nan_to_num(self.accuracy) - np.nan_to_num(self.confidence))
        return float((self.count * distance).sum() / self.count.sum())

    def table(self) -> pd.DataFrame:
        """The bins that hold images: confidence, accuracy, count."""
        held = self.count > 0
        columns = {"confidence": self.confidence, "accuracy": self.accuracy, "count": self.count}
        return pd.DataFrame({name: values[held] for name, values in columns.items()})


def bin_of(confidence: Float[np.ndarray, " n"], bins: int) -> Int[np.ndarray, " n"]:
    """Index of the equally wide bin [i / bins, (i + 1) / bins) that holds each confidence; the last one holds 1.0.

    Raises:
        DataError: A confidence lies outside [0, 1].
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError("confidence must lie in [0, 1]; got values outside: pass probabilities, not logits")
    edges = np.linspace(0.0, 1.0, bins + 1)
    index: Int[np.ndarray, " n"] = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    return index


def reliability(confidence: Float[np.ndarray, " n"], correct: Float[np.ndarray, " n"], bins: int) -> Reliability:
    """Bin images by confidence and measure the accuracy in each bin.

    Args:
        confidence: Probability of the predicted class, in [0, 1].
        correct: 1.0 where the prediction is right, else 0.0.
        bins: Number of equally wide bins.

    Returns:
        The reliability diagram's numbers.

    Source:
        Guo et al. 2017, equations 2 and 3; the bins of ``torchmetrics.CalibrationError(norm="l1")``.
    """
    index = bin_of(confidence, bins)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(index, weights=correct, minlength=bins) / count
    return Reliability(mean_confidence, accuracy, count)


def error_of(confidence: Float[np.ndarray, " n"], correct: Float[np.ndarray, " n"], bins: int) -> Statistic:
    """The expected calibration error as a statistic of positions, for the bootstrap."""
    index, gap = bin_of(confidence, bins), correct - confidence

    def statistic(positions: NDArray[np.int64]) -> NDArray[np.float64]:
        flat = positions.reshape(-1, positions.shape[-1])
        cell = (index[flat] + bins * np.arange(len(flat))[:, None]).ravel()
        gaps = np.bincount(cell, weights=gap[flat].ravel(), minlength=bins * len(flat)).reshape(-1, bins)
        error: NDArray[np.float64] = np.abs(gaps).sum(axis=1) / positions.shape[-1]
        return error.reshape(positions.shape[:-1])

    return statistic
