"""The exact account of a prediction: score x weight = contribution, and the sum is the logit."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from protoquant.core.errors import ArtifactError
from protoquant.model.contributions import Contributions, Part

# Tolerance of sums, absolute and relative to the logit.
_TOLERANCE = 1e-5
# Share of the logit below which a contribution is not worth a line of its own.
_LEAST = 0.01


@dataclass(frozen=True)
class Ledger:
    """All contributions to one class score of one image.

    Attributes:
        label: The class.
        parts: The largest contributions, largest first.
        others: Number of further prototypes that contribute.
        rest: Sum of their contributions.
        logit: The class score: sum of parts plus rest.
    """

    label: int
    parts: tuple[Part, ...]
    others: int
    rest: float
    logit: float


def ledger(rows: pd.DataFrame, label: int, logit: float, shown: int) -> Ledger:
    """Build the account of one image and one class, and check that it sums to the logit.

    Args:
        rows: Contributions of the image: class, code, score, weight, contribution, row, col.
        label: The class whose score is accounted for.
        logit: The model's score of that class.
        shown: Maximum number of contributions to list. The others, and those below a hundredth of the logit, become
            one sum; one is always listed.

    Returns:
        The account. A class without contributions has none, and logit 0.

    Raises:
        ArtifactError: The contributions do not sum to the logit.
    """
    own = Contributions.of_table(rows[rows["class"] == label])
    total = math.fsum(own.contribution)
    if not math.isclose(total, logit, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        raise ArtifactError(
            f"contributions to class {label} must sum to the logit {logit:.6f}, they sum to {total:.6f}; run evaluate"
        )
    shown = max(1, min(shown, int((own.contribution >= _LEAST * total).sum())))
    others = max(0, len(own.code) - shown)
    return Ledger(label, tuple(own.parts(shown)), others, math.fsum(own.contribution[shown:]), logit)


@dataclass(frozen=True)
class ReportSelection:
    """The test images that the report explains, as positions in predictions.parquet, most confident first."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]


def choose(predictions: pd.DataFrame, right: int, wrong: int) -> ReportSelection:
    """Choose images by a rule, not by looks: evenly spaced from the most to the least confident.

    Args:
        predictions: label, predicted, probability of every test image.
        right: Number of images that the model gets right.
        wrong: Number of images that it gets wrong.

    Returns:
        The positions; fewer where there are fewer such images.
    """
    correct = (predictions["label"] == predictions["predicted"]).to_numpy()
    order = np.argsort(-predictions["probability"].to_numpy(), kind="stable")
    return ReportSelection(_spaced(order[correct[order]], right), _spaced(order[~correct[order]], wrong))


def _spaced(positions: np.ndarray, count: int) -> tuple[int, ...]:
    """Take ``count`` of the positions at equal distances, both ends included."""
    picks = np.unique(np.linspace(0, len(positions) - 1, min(count, len(positions))).round().astype(int))
    return tuple(int(position) for position in positions[picks])
