"""The score of a protocol over images: its mean, and how many images were skipped for which reason."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from protoquant.evaluation.metrics.intervals import Statistic


class Skip(StrEnum):
    """Why a protocol says nothing about an image."""

    WRONG_ANSWER = "wrong_answer"
    NO_SUFFICIENT_SET = "no_sufficient_set"
    NO_OBJECT = "no_object"
    NOTHING_IRRELEVANT = "nothing_irrelevant"
    CONSTANT = "constant"
    NO_PAIR = "no_pair"
    OTHER_RESPONSE = "other_response"


Outcome = Skip | float | Float[np.ndarray, " t"]
"""What a protocol says about one image: a number in [0, 1], or one for each threshold, or why it says nothing."""


@dataclass(frozen=True)
class Score:
    """One number in [0, 1] for each image and threshold; a protocol without thresholds has a single column.

    Attributes:
        values: (n, t); NaN where the image was skipped.
        weights: Weight of each image in the mean (n).
        skipped: Number of images skipped, by reason.
    """

    values: Float[np.ndarray, "n t"]
    weights: Float[np.ndarray, " n"]
    skipped: Mapping[Skip, int]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], thresholds: int = 1, weights: Sequence[float] | None = None) -> "Score":
        """Collect the outcomes of all images.

        Args:
            outcomes: One for each image.
            thresholds: Number of columns.
            weights: Weight of each image in the mean; all the same by default.
        """
        values = np.full((len(outcomes), thresholds), np.nan)
        for row, outcome in zip(values, outcomes, strict=True):
            row[:] = np.nan if isinstance(outcome, Skip) else outcome
        equal = np.ones(len(outcomes)) if weights is None else np.array(weights, dtype=np.float64)
        return cls(values, equal, Counter(one for one in outcomes if isinstance(one, Skip)))

    @property
    def n(self) -> int:
        """Number of images that were not skipped."""
        return int(np.isfinite(self.values[:, 0]).sum())

    @property
    def value(self) -> Float[np.ndarray, " t"]:
        """Mean over the images that were not skipped, at each threshold; NaN where all were."""
        return np.array([self.statistic(column)(np.arange(len(self.values))) for column in range(self.values.shape[1])])

    def statistic(self, column: int = 0) -> Statistic:
        """The mean at one threshold, as a statistic of positions of images.

        A resample in which all images are skipped ones has the mean of all images; it is NaN where all were skipped.
        """
        held = np.isfinite(self.values[:, column])
        weights = np.where(held, self.weights, 0.0)
        weighted = weights * np.where(held, self.values[:, column], 0.0)
        overall = weighted.sum() / weights.sum() if weights.any() else np.nan

        def mean(positions: NDArray[np.int64]) -> NDArray[np.float64]:
            weight = weights[positions].sum(axis=-1)
            known = weight > 0
            found: NDArray[np.float64] = weighted[positions].sum(axis=-1) / np.where(known, weight, 1.0)
            return np.where(known, found, overall)

        return mean
