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
class AgainstChance:
    """A measurement, and the same for labels dealt at random.

    Attributes:
        value: With the true labels.
        shuffled: Mean over shuffled labels.
        spread: Standard deviation over shuffled labels.
    """

    value: float
    shuffled: float
    spread: float

    @property
    def deviations(self) -> float:
        """Distance of the value from shuffled labels, in their standard deviations."""
        return (self.value - self.shuffled) / max(self.spread, 1e-9)


@dataclass(frozen=True)
class Told:
    """How well a classifier tells the class of images that it did not see.

    Attributes:
        accuracy: Balanced accuracy: the mean over classes of the share that is right, in [0, 1].
        best: The largest of ``gains``.
        recall: Share of each class that is right (c).
        gains: For each class, the share of its images that are called so less that of other images (c); 0 by chance.
        right: Whether each image is right (n).
    """

    accuracy: AgainstChance
    best: AgainstChance
    recall: Float[np.ndarray, " c"]
    gains: Float[np.ndarray, " c"]
    right: Bool[np.ndarray, " n"]


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
    rng = numpy_generator(0, "doctor", "shuffle")
    predicted = _predict(maps, labels)
    recall, gains = by_class(predicted, labels)
    by_chance = []
    for _ in range(SHUFFLES):
        shuffled = rng.permutation(labels)
        some_recall, some_gains = by_class(_predict(maps, shuffled), shuffled)
        by_chance.append((some_recall.mean(), some_gains.max()))
    (accuracy, best), (spread, spread_of_best) = np.mean(by_chance, axis=0), np.std(by_chance, axis=0)
    return Told(
        accuracy=AgainstChance(float(recall.mean()), float(accuracy), float(spread)),
        best=AgainstChance(float(gains.max()), float(best), float(spread_of_best)),
        recall=recall,
        gains=gains,
        right=predicted == labels,
    )


def by_class(
    predicted: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Recall of each class, and recall less the share of other images that are called so.

    Args:
        predicted: Classes in [0, c).
        labels: Classes in [0, c), at least two, each with an image.

    Source:
        Youden 1950, the index J of each class against the others.
    """
    of = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels)
    recall = right / of
    wrong = np.bincount(predicted, minlength=len(of)) - right
    return recall, recall - wrong / (len(labels) - of)


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
