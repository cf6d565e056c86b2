"""Bootstrap intervals over images, which say how certain each headline number is."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import stats

from protoquant.core.errors import DataError
from protoquant.evaluation.config import EvaluateConfig

# A statistic of a resample: positions of images (..., n) -> values (...).
Statistic = Callable[[NDArray[np.int64]], NDArray[np.float64]]
# Index elements that one batch of resamples may hold: 32 MiB of int64.
_BATCH_ELEMENTS = 4_194_304


@dataclass(frozen=True)
class Estimate:
    """A number measured on images, with its bootstrap interval.

    Attributes:
        value: The statistic on all images.
        n: Number of images behind it.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    n: int
    low: float
    high: float


def estimate(statistic: Statistic, n: int, config: EvaluateConfig, rng: np.random.Generator) -> Estimate:
    """Measure a statistic of n images and its bootstrap interval.

    If every resample gives the same value (because all images are right, say), the interval is that one point: the
    bootstrap knows nothing beyond the sample.

    Args:
        statistic: Maps positions of images (..., n) to values (...); called with whole batches of resamples.
        n: Number of images, at least 1.
        config: Level, number of resamples and kind of interval.
        rng: The only source of randomness.

    Returns:
        The value on all images in order, with the ends of its interval.

    Raises:
        DataError: n is 0, or the statistic is not finite.

    Source:
        Efron and Tibshirani 1993, chapters 13 and 14; ``scipy.stats.bootstrap``.
    """
    if n < 1:
        raise DataError("evaluate needs at least one test image, got 0; check the test share of prepare")
    positions = np.arange(n, dtype=np.int64)
    value = float(statistic(positions[None])[0])
    if not math.isfinite(value):
        raise DataError(f"a test statistic must be finite, got {value} over {n} images; look for NaN in the logits")
    if n == 1:
        return Estimate(value, n, value, value)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # A constant statistic has no spread; scipy warns and returns NaN, which is handled below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (positions,),
            lambda sample, axis: statistic(np.moveaxis(sample, axis, -1)),
            n_resamples=config.resamples,
            batch=max(1, _BATCH_ELEMENTS // n),
            vectorized=True,
            confidence_level=config.level,
            method="BCa" if config.interval == "bca" else "percentile",
            rng=rng,
        )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if math.isnan(low) or math.isnan(high):
        low = high = value
    return Estimate(value, n, low, high)


def mean_of(values: Float[np.ndarray, " n"]) -> Statistic:
    """The mean of one value per image, as a statistic of positions."""
    held = np.asarray(values, dtype=np.float64)
    return lambda positions: held[positions].mean(axis=-1)


def macro_of(correct: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], c: int) -> Statistic:
    """Mean over classes of the share of correct images of that class, as a statistic of positions.

    A class that a resample misses is left out of that resample's mean.

    Args:
        correct: 1.0 where an image is right, else 0.0.
        labels: True class of every image, in [0, c).
        c: Number of classes.

    Returns:
        The statistic.
    """

    def statistic(positions: NDArray[np.int64]) -> NDArray[np.float64]:
        flat = positions.reshape(-1, positions.shape[-1])
        cell = (labels[flat] + c * np.arange(len(flat))[:, None]).ravel()
        size = c * len(flat)
        support = np.bincount(cell, minlength=size).reshape(-1, c)
        hits = np.bincount(cell, weights=correct[flat].ravel(), minlength=size).reshape(-1, c)
        recall = hits / np.maximum(support, 1)
        macro: NDArray[np.float64] = recall.sum(axis=1) / (support > 0).sum(axis=1)
        return macro.reshape(positions.shape[:-1])

    return statistic
