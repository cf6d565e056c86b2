"""Whether a few numbers tell the class: out-of-fold accuracy of a small classifier, against shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from protoquant.core.seeding import numpy_generator

FOLDS = 5
SHUFFLES = 50
_RIDGE = 0.1


@dataclass(frozen=True)
class Told:
    """How well a classifier tells the class of images that it did not see.

    Attributes:
        accuracy: Balanced accuracy: the mean over classes of the share that is right, in [0, 1].
        shuffled: Mean of the same over shuffled labels, about one over the number of classes.
        spread: Standard deviation over shuffled labels.
        right: Whether each image is right (n).
    """

    accuracy: float
    shuffled: float
    spread: float
    right: Bool[np.ndarray, " n"]

    @property
    def deviations(self) -> float:
        """Standard deviations between the accuracy and that of shuffled labels."""
        return (self.accuracy - self.shuffled) / max(self.spread, 1e-9)


def folds(labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Deal the images of each class in turn to the folds, in their order; numbers in [0, FOLDS)."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    dealt = np.empty(len(labels), dtype=np.int64)
    dealt[order] = (np.arange(len(labels)) - starts) % FOLDS
    return dealt


def told(values: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]) -> Told:
    """Fit kernel ridge regression on all folds but one and classify that one, for true and for shuffled labels.

    The kernel is Gaussian, as wide as the median distance of standardised values, so that classes need not lie on two
    sides of a plane. A column without spread counts for nothing.

    Args:
        values: Numbers of each image; at least one column varies.
        labels: Classes in [0, c), each with at least FOLDS images.

    Source:
        Saunders, Gammerman and Vovk 1998 (kernel ridge regression); Ojala and Garriga 2010 (test by permutation).
    """
    maps = _maps(values, folds(labels))
    right = _predict(maps, labels) == labels
    rng = numpy_generator(0, "doctor", "shuffle")
    by_chance = []
    for _ in range(SHUFFLES):
        shuffled = rng.permutation(labels)
        by_chance.append(balanced(_predict(maps, shuffled) == shuffled, shuffled))
    return Told(balanced(right, labels), float(np.mean(by_chance)), float(np.std(by_chance)), right)


def balanced(right: Bool[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> float:
    """Mean over classes of the share of images that are right; every class in [0, c) has an image."""
    return float(np.mean(np.bincount(labels, weights=right) / np.bincount(labels)))


_Map = tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " r"], Float[np.ndarray, "m r"]]


def _maps(values: Float[np.ndarray, "n d"], dealt: Int64[np.ndarray, " n"]) -> list[_Map]:
    """For each fold its images, the others, and the linear map from the others' targets to its scores."""
    spread = values.std(axis=0)
    inputs = (values - values.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9]
    squares = (inputs**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * inputs @ inputs.T, 0.0)
    apart = distances[distances > 1e-9]
    kernel = np.exp(-distances / np.median(apart))
    maps = []
    for fold in range(FOLDS):
        own, others = np.flatnonzero(dealt == fold), np.flatnonzero(dealt != fold)
        inner = kernel[np.ix_(others, others)] + _RIDGE * np.eye(len(others))
        maps.append((own, others, np.linalg.solve(inner, kernel[np.ix_(others, own)]).T))
    return maps


def _predict(maps: list[_Map], labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The class of the highest score; targets are centred and scaled so that a large class has no advantage."""
    c = int(labels.max()) + 1
    predicted = np.empty_like(labels)
    for own, others, linear in maps:
        targets = np.eye(c)[labels[others]]
        share = targets.mean(axis=0)
        predicted[own] = (linear @ ((targets - share) / np.sqrt(share + 1e-9))).argmax(axis=1)
    return predicted
