"""Statistics of how far the prototypes in new images are from those in training images, from counts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from scipy.spatial.distance import jensenshannon

from protoquant.model.reference import BINS, SEEN

LEVEL = 0.05
"""Share of false alarms among the prototypes reported as moved (Benjamini-Hochberg); the usual level."""
GONE = 0.1
"""A prototype has vanished at a tenth of its share or less, and appeared at ten times its share or more."""
RARER = 2 / 3
"""A prototype is rarer at two thirds of its share or less, more frequent at three halves or more, else steady."""
LEAST = 0.01
"""A share that changes by less than one image in a hundred is steady, however sure the change is."""
FEW = 30
"""Fewer images than this show little: a part seen in a tenth of thirty images is seen in three."""


class DriftVerdict(StrEnum):
    """The verdict on how often a prototype is seen in new images, against training and validation."""

    VANISHED = "vanished"
    RARER = "rarer"
    STEADY = "steady"
    MORE_FREQUENT = "more frequent"
    APPEARED = "appeared"


@dataclass(frozen=True)
class PrototypeDrift:
    """One prototype in the images of training, of validation, and in new ones.

    Attributes:
        prototype: Number of the code.
        train: Share of the training images in which it is seen, in [0, 1].
        validation: The same share of the validation images.
        now: The same share of the new images.
        ratio: now / the nearer of train and validation, 1 between the two; None where the divisor alone is 0.
        p_value: p-value of the two-sided Fisher test of now against train.
        p_validation: p-value of the same test against validation.
        q_value: ``p_value`` after Benjamini-Hochberg over all prototypes.
        distance: Jensen-Shannon distance of the histograms of presence, now from train, in [0, 1].
        yardstick: The same distance of validation from train.
        mean_train: Mean presence in the training images, as :func:`mean_presence` takes it.
        mean_validation: Mean presence in the validation images.
        mean_now: Mean presence in the new images.
        verdict: Verdict on the change.
    """

    prototype: int
    train: float
    validation: float
    now: float
    ratio: float | None
    p_value: float
    p_validation: float
    q_value: float
    distance: float
    yardstick: float
    mean_train: float
    mean_validation: float
    mean_now: float
    verdict: DriftVerdict


def compare(
    prototypes: tuple[int, ...],
    counts: Mapping[str, Int[np.ndarray, "p b"]],
) -> tuple[PrototypeDrift, ...]:
    """Compare histograms of presence, prototype by prototype.

    A prototype has moved if four conditions hold. Its share of images differs from that in training, by Fisher's exact
    test with the false alarms among all prototypes held to ``LEVEL``. It also differs from that in validation, by the
    same test at ``LEVEL``: training fits its own images, so a difference that validation also shows is not due to
    the new images. It lies outside the two shares by a factor of ``RARER``, and by ``LEAST``.

    Args:
        prototypes: The codes.
        counts: ``train``, ``validation`` and ``now``: images by prototype and bin (p, BINS); each row of one of them
            sums to its number of images, at least 1.

    Returns:
        One for each prototype, in order.

    Source:
        Fisher 1922, exact even where a part is seen in no image. Benjamini and Hochberg 1995.
    """
    seen = {name: _seen(part) for name, part in counts.items()}
    total = {name: int(part[0].sum()) for name, part in counts.items()}
    p_value = _fisher(seen["now"], total["now"], seen["train"], total["train"])
    p_validation = _fisher(seen["now"], total["now"], seen["validation"], total["validation"])
    q_value = stats.false_discovery_control(p_value, method="bh")
    distance = distances(counts["train"], counts["now"])
    yardstick = distances(counts["train"], counts["validation"])
    mean = {name: mean_presence(part) for name, part in counts.items()}
    found = []
    for row, code in enumerate(prototypes):
        train, validation, now = (float(seen[name][row] / total[name]) for name in ("train", "validation", "now"))
        sure = bool(q_value[row] < LEVEL and p_validation[row] < LEVEL)
        base = float(np.clip(now, min(train, validation), max(train, validation)))
        found.append(
            PrototypeDrift(
                prototype=code,
                train=train,
                validation=validation,
                now=now,
                ratio=now / base if base > 0 else None if now > 0 else 1.0,
                p_value=float(p_value[row]),
                p_validation=float(p_validation[row]),
                q_value=float(q_value[row]),
                distance=float(distance[row]),
                yardstick=float(yardstick[row]),
                mean_train=float(mean["train"][row]),
                mean_validation=float(mean["validation"][row]),
                mean_now=float(mean["now"][row]),
                verdict=judge(base, now) if sure else DriftVerdict.STEADY,
            )
        )
    return tuple(found)


def judge(base: float, now: float) -> DriftVerdict:
    """Name a significant change by its size.

    Args:
        base: Share of images before, in [0, 1].
        now: Share now.
    """
    if abs(now - base) < LEAST:
        return DriftVerdict.STEADY
    if now < base:
        if now <= GONE * base:
            return DriftVerdict.VANISHED
        return DriftVerdict.RARER if now <= RARER * base else DriftVerdict.STEADY
    if base <= GONE * now:
        return DriftVerdict.APPEARED
    return DriftVerdict.MORE_FREQUENT if base <= RARER * now else DriftVerdict.STEADY


def distances(one: Int[np.ndarray, "p b"], other: Int[np.ndarray, "p b"]) -> Float[np.ndarray, " p"]:
    """Jensen-Shannon distance (base 2) of histograms, row by row, in [0, 1].

    A small sample alone gives a distance above 0, so it is shown beside that of validation and decides nothing.
    """
    found: Float[np.ndarray, " p"] = np.nan_to_num(jensenshannon(one, other, base=2.0, axis=1))
    return found


def mean_presence(counts: Int[np.ndarray, "p b"]) -> Float[np.ndarray, " p"]:
    """Mean presence of each prototype, each image at the lower edge of its bin, so that an absent part counts 0."""
    mean: Float[np.ndarray, " p"] = counts @ (np.arange(BINS) / BINS) / counts.sum(axis=1)
    return mean


def share_test(one: int, of_one: int, other: int, of_other: int) -> float:
    """Two-sided p-value of Fisher's exact test that two shares are the same.

    Args:
        one: Images counted in the first set.
        of_one: All images of the first set.
        other: Images counted in the second set.
        of_other: All images of the second set.
    """
    table = np.array([[one, of_one - one], [other, of_other - other]])
    return float(min(1.0, stats.fisher_exact(table).pvalue))


def _seen(counts: Int[np.ndarray, "p b"]) -> Int[np.ndarray, " p"]:
    seen: Int[np.ndarray, " p"] = counts[:, round(SEEN * BINS) :].sum(axis=1)
    return seen


def _fisher(
    one: Int[np.ndarray, " p"], of_one: int, other: Int[np.ndarray, " p"], of_other: int
) -> Float[np.ndarray, " p"]:
    return np.array([share_test(int(a), of_one, int(b), of_other) for a, b in zip(one, other, strict=True)])
