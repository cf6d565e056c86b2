"""Chooses the winning trial of a sweep and says why."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from protoquant.model.chosen_by import WORDS, ChosenBy

_ROUNDING = 1e-9
"""Accuracies are quotients of counts: a margin far below one image keeps rounding out of the comparison."""


@dataclass(frozen=True)
class Choice:
    """The winner of a sweep.

    Attributes:
        trial: The smallest model within the tolerance of the best.
        best: The trial with the highest accuracy on held-out images; among equals, the smallest.
        tolerance: Accuracy given up for a smaller model.
        interval: 95 % Wilson interval of the winner's accuracy, not corrected for the selection; of balanced accuracy,
            by the effective number of images.
        sentence: The reason, in one sentence.
        caution: The limits of these numbers, in words.
    """

    trial: str
    best: str
    tolerance: float
    interval: tuple[float, float]
    sentence: str
    caution: str


def choose(trials: pd.DataFrame, tolerance: float, measure: ChosenBy = "top1") -> Choice | None:
    """Take the smallest model within a tolerance of the best accuracy on held-out images.

    Smallest: fewest non-zero weights, then fewest prototypes, then fewest codes, then highest accuracy, then the
    earliest trial.

    Args:
        trials: The table of trials.
        tolerance: Accuracy given up for a smaller model, in [0, 1].
        measure: The accuracy in the table.

    Returns:
        The choice; None if no trial is done.
    """
    done = trials[trials["state"] == "done"]
    if done.empty:
        return None
    small_first = done.sort_values(
        ["nonzeros", "prototypes", "k", "accuracy", "number"], ascending=[True, True, True, False, True]
    )
    highest = float(done["accuracy"].max())
    best = small_first[small_first["accuracy"] >= highest - _ROUNDING].iloc[0]
    taken = small_first[small_first["accuracy"] >= highest - tolerance - _ROUNDING].iloc[0]
    n = int(taken["n"])
    interval = binomtest(round(float(taken["accuracy"]) * n), n).proportion_ci(method="wilson")
    return Choice(
        trial=str(taken["trial"]),
        best=str(best["trial"]),
        tolerance=tolerance,
        interval=(float(interval.low), float(interval.high)),
        sentence=_why(taken, best, tolerance, measure),
        caution=_caution(done, n, float(interval.high - interval.low), measure),
    )


def front(trials: pd.DataFrame) -> set[str]:
    """Return the trials that no other beats in accuracy, prototypes per class and codes at once.

    Args:
        trials: The table of trials.

    Returns:
        Ids of the done trials for which no other is at least as accurate, as sparse and as small, and better in one.
    """
    done = trials[trials["state"] == "done"]
    points = {
        str(row["trial"]): (-float(row["accuracy"]), float(row["class_size"]), float(row["k"]))
        for row in done.to_dict("records")
    }
    return {
        trial
        for trial, own in points.items()
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in points.values())
    }


def _why(taken: pd.Series, best: pd.Series, tolerance: float, measure: ChosenBy) -> str:
    points = f"{100 * tolerance:g} point{'' if tolerance == 0.01 else 's'}"
    said = f"{_said(taken, measure)} is the smallest model within {points} of the best"
    if taken["trial"] == best["trial"]:
        return f"{said}, and is the best itself."
    return f"{said}, {_said(best, measure)}."


def _said(row: pd.Series, measure: ChosenBy) -> str:
    share = f"{100 * float(row['accuracy']):.1f} %"
    right = f"{share} of {int(row['n'])} held-out images" if measure == "top1" else f"{WORDS[measure]} {share}"
    sizes = f"{float(row['class_size']):.1f} prototypes per class, {int(row['k'])} codes"
    return f"trial {int(row['number'])} ({right}, {sizes})"


def _caution(done: pd.DataFrame, n: int, width: float, measure: ChosenBy) -> str:
    images = "held-out images" if measure == "top1" else "held-out images, to which so many of unequal classes amount,"
    near = f"With {n} {images} the 95 % interval of one accuracy is {100 * width:.1f} points wide"
    if len(done) == 1:
        return f"{near}."
    return (
        f"{near}, so the order of near trials is partly chance, and the best of {len(done)} looks better than it is. "
        f"The test split was not looked at: it tells the truth once, when the winner is evaluated."
    )
