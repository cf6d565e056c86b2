"""Train images whose label a probe doubts that did not see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from protoquant.doctor.findings import Finding, FindingKind, FoundImage
from protoquant.doctor.inspections.cross_fit import FOLDS, folds
from protoquant.doctor.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENT = 0.9
"""Part of a class's mean probability from which an image counts to it: half of its own images are below the mean."""
_PENALTY, _ITERATIONS = 0.03, 300


@dataclass(frozen=True)
class Suspect:
    """An image that the probe counts to another class.

    Attributes:
        place: Its position.
        other: The class that it is counted to.
        own: Probability of its label.
        rival: Probability of the other class.
    """

    place: int
    other: int
    own: float
    rival: float


def label_noise(photos: Sequence[Photo], means: Float[Tensor, "n d"]) -> list[Finding]:
    """Find the labels that the probe doubts, the most doubtful first.

    Classes with fewer images than there are folds are passed over.

    Args:
        photos: Photos of train.
        means: The mean of each one's patch tokens.
    """
    counts = Counter(photo.class_name for photo in photos)
    names = sorted(name for name, n in counts.items() if n >= FOLDS)
    if len(names) < 2:
        return []
    label_of = {name: label for label, name in enumerate(names)}
    places = [place for place, photo in enumerate(photos) if photo.class_name in label_of]
    labels = np.array([label_of[photos[place].class_name] for place in places], dtype=np.int64)
    found = suspects(out_of_fold(means[places], labels), labels)
    return [_finding(photos[places[one.place]], one, names) for one in found]


def suspects(probabilities: Float[np.ndarray, "n c"], labels: Int64[np.ndarray, " n"]) -> list[Suspect]:
    """The off-diagonal of the confident joint: images that are confidently of another class than their label.

    An image counts to class j if its probability of j reaches, but for a tenth, the mean probability of j among the
    images labelled j; of several such classes, to the most probable.

    Args:
        probabilities: Out-of-fold probabilities.
        labels: Labels in [0, c), each class with an image.

    Returns:
        Those that count to another class, which is also the most probable, sorted by own minus rival probability.

    Source:
        Northcutt, Jiang and Chuang 2021, Journal of Artificial Intelligence Research 70, section 3.1.
    """
    n, c = probabilities.shape
    confident = CONFIDENT * np.array([probabilities[labels == label, label].mean() for label in range(c)])
    reached = np.where(probabilities >= confident, probabilities, -1.0)
    counted = reached.argmax(axis=1)
    rows = np.arange(n)
    off = (reached[rows, counted] >= 0) & (counted != labels) & (probabilities.argmax(axis=1) == counted)
    found = [
        Suspect(
            int(row), int(counted[row]), float(probabilities[row, labels[row]]), float(probabilities[row, counted[row]])
        )
        for row in np.flatnonzero(off)
    ]
    return sorted(found, key=lambda one: (one.own - one.rival, one.place))


def out_of_fold(means: Float[Tensor, "n d"], labels: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n c"]:
    """Probabilities of each image by a linear probe fitted on the other folds.

    Args:
        means: Mean-pooled tokens.
        labels: Labels in [0, c), each class with at least two images.
    """
    import torch

    from protoquant.codebook.probe import fit_probe

    dealt, targets = torch.from_numpy(folds(labels)), torch.from_numpy(labels)
    inputs = means.float()
    found = torch.empty(len(labels), int(targets.max()) + 1)
    for fold in range(FOLDS):
        own = dealt == fold
        if bool(own.any()):
            probe = fit_probe(
                inputs[~own], targets[~own], inputs[own], targets[own], penalties=(_PENALTY,), iterations=_ITERATIONS
            ).probe
            found[own] = probe.logits(inputs[own]).softmax(dim=1)
    return found.double().numpy()


def _finding(photo: Photo, one: Suspect, names: Sequence[str]) -> Finding:
    sentence = (
        f"labelled {photo.class_name!r}, yet the probe gives that {100 * one.own:.0f} % and {names[one.other]!r} "
        f"{100 * one.rival:.0f} %: {photo.path}"
    )
    image = FoundImage.of(photo, f"looks like {names[one.other]!r}")
    return Finding(FindingKind.LABEL_SUSPECT, sentence, (image,), number=one.rival - one.own)
