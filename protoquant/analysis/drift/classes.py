"""Effects of drift on classes: how often each is predicted, and how much its score loses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from protoquant.analysis.drift.numbers import DriftVerdict, PrototypeDrift

MIX = 0.25
"""A mix is reported as another if at least this share of images would have to change class to give validation's."""


@dataclass(frozen=True)
class ClassDrift:
    """One class: how often it is predicted, and how much its score loses.

    Attributes:
        label: Index of the class.
        validation: Share of the validation images that the model gave this class, in [0, 1].
        now: The same share of the new images.
        score: Sum over its prototypes of weight * mean presence in training: its mean score there.
        loss: The same sum with the drop of mean presence from training to now; negative where it gains.
        yardstick: The loss on the validation images.
        by: (prototype, its part of the loss) of those that lose, the largest loss first.
        hit: Whether one of its prototypes vanished or is rarer, and it loses more than on validation.
    """

    label: int
    validation: float
    now: float
    score: float
    loss: float
    yardstick: float
    by: tuple[tuple[int, float], ...]
    hit: bool


def compare_classes(
    parts: tuple[PrototypeDrift, ...],
    head: Float[np.ndarray, "c k"],
    validation: Int[np.ndarray, " c"],
    now: Int[np.ndarray, " c"],
) -> tuple[ClassDrift, ...]:
    """Compute how much the change of the prototypes costs each class.

    Args:
        parts: As :func:`compare` returns them.
        head: Weights, >= 0.
        validation: Validation images by predicted class, at least one in all.
        now: New images by predicted class, at least one in all.

    Returns:
        One for each class, the largest loss first, ties by label.
    """
    codes = np.array([part.prototype for part in parts])
    means = {
        name: np.array([getattr(part, f"mean_{name}") for part in parts]) for name in ("train", "validation", "now")
    }
    gone = {part.prototype for part in parts if part.verdict in (DriftVerdict.VANISHED, DriftVerdict.RARER)}
    weights = head[:, codes]
    losses, yardsticks = weights * (means["train"] - means["now"]), weights @ (means["train"] - means["validation"])
    found = []
    for label, row in enumerate(losses):
        order = [place for place in np.argsort(-row, kind="stable") if row[place] > 0]
        by = tuple((int(codes[place]), float(row[place])) for place in order)
        loss, yardstick = float(row.sum()), float(yardsticks[label])
        found.append(
            ClassDrift(
                label=label,
                validation=float(validation[label] / validation.sum()),
                now=float(now[label] / now.sum()),
                score=float(weights[label] @ means["train"]),
                loss=loss,
                yardstick=yardstick,
                by=by,
                hit=loss > max(yardstick, 0.0) and any(code in gone for code, _ in by),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.loss, one.label)))


def mix(validation: Int[np.ndarray, " c"], now: Int[np.ndarray, " c"]) -> tuple[float, float]:
    """Measure how far the mix of predicted classes is from that of validation.

    Args:
        validation: Validation images by predicted class, at least one in all.
        now: New images by predicted class, at least one in all.

    Returns:
        The total variation distance in [0, 1], and the p-value of the chi-squared test that the mixes are the same.
    """
    counts = np.stack([validation, now])
    counts = counts[:, counts.sum(axis=0) > 0]
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(stats.chi2_contingency(counts).pvalue)
