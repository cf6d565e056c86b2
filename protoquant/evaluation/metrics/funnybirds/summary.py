"""From protocols to a verdict: all scores of one explanation method, its threshold, and the aggregates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from protoquant.evaluation.metrics.funnybirds import protocols
from protoquant.evaluation.metrics.funnybirds.classes import ClassParts
from protoquant.evaluation.metrics.funnybirds.scores import Score
from protoquant.evaluation.metrics.funnybirds.trial import Importance, Trial
from protoquant.evaluation.metrics.intervals import Statistic

THRESHOLDS: Float[np.ndarray, " t"] = np.linspace(0.01, 0.50, 80)
"""Shares of all evidence from which a part is important; the protocol takes the best of them, on the test split."""
FIXED = 0.1
"""The threshold that nothing was chosen for: half of a part's even share, where five parts hold all evidence."""

BY_THRESHOLD = {
    "synthetic_data_check": protocols.synthetic_data_check,
    "preservation_check": protocols.preservation_check,
    "deletion_check": protocols.deletion_check,
    "distractibility": protocols.distractibility,
}
WITHOUT_THRESHOLD = {
    "single_deletion": protocols.single_deletion,
    "target_sensitivity": protocols.target_sensitivity,
}
_CHECKS = ("synthetic_data_check", "preservation_check", "deletion_check")


def completeness(checks: Sequence[NDArray[np.float64]], spared: NDArray[np.float64]) -> NDArray[np.float64]:
    """((CSDC + PC + DC) / 3 + D) / 2."""
    half: NDArray[np.float64] = (np.mean(checks, axis=0) + spared) / 2
    return half


@dataclass(frozen=True)
class Summary:
    """All scores of one explanation method, by name of the protocol.

    Attributes:
        scores: Those that depend on a threshold have a column for each of ``THRESHOLDS`` and a last one for ``FIXED``.
    """

    scores: Mapping[str, Score]

    @property
    def best(self) -> int:
        """Column of t*: the largest CSDC/3 + PC/3 + DC/3 + D, the first on a tie; an undefined score counts as 0."""
        checks, spared = self._by_threshold()
        return int(np.argmax(completeness(checks, spared)[: len(THRESHOLDS)]))

    @property
    def fixed(self) -> int:
        """Column of ``FIXED``."""
        return len(THRESHOLDS)

    def behind(self, name: str) -> Score:
        """The score of a protocol; of an aggregate, that of its protocols which stands on the fewest images."""
        aggregates = {
            "completeness": tuple(BY_THRESHOLD),
            "correctness": ("single_deletion",),
            "contrastivity": ("target_sensitivity",),
            "mean": tuple(self.scores),
        }
        return min((self.scores[one] for one in aggregates.get(name, (name,))), key=lambda score: score.n)

    def statistics(self, column: int) -> dict[str, Statistic]:
        """Every score at a threshold and the aggregates, as statistics of positions of images.

        Args:
            column: ``best`` or ``fixed``; it stays the same in every resample.

        Returns:
            By name: the protocols, completeness, correctness (SD), contrastivity (TS), and their mean.
        """
        own = {name: self.scores[name].statistic(column) for name in BY_THRESHOLD}
        own |= {name: self.scores[name].statistic() for name in WITHOUT_THRESHOLD}

        def complete(positions: NDArray[np.int64]) -> NDArray[np.float64]:
            return completeness([own[name](positions) for name in _CHECKS], own["distractibility"](positions))

        three = {
            "completeness": complete,
            "correctness": own["single_deletion"],
            "contrastivity": own["target_sensitivity"],
        }

        def mean(positions: NDArray[np.int64]) -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.mean([one(positions) for one in three.values()], axis=0)
            return found

        return own | three | {"mean": mean}

    def _by_threshold(self) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
        values = {name: np.nan_to_num(self.scores[name].value) for name in BY_THRESHOLD}
        return [values[name] for name in _CHECKS], values["distractibility"]


def summarise(trials: Sequence[Trial], found: Sequence[Importance], classes: ClassParts) -> Summary:
    """Run every protocol that judges an explanation.

    Args:
        trials: The model's answers, one for each image.
        found: The explanation of each image.
        classes: The parts of the classes.
    """
    thresholds = np.append(THRESHOLDS, FIXED)
    scores = {}
    for name, protocol in {**BY_THRESHOLD, **WITHOUT_THRESHOLD}.items():
        outcomes = [protocol(trial, one, classes, thresholds) for trial, one in zip(trials, found, strict=True)]
        scores[name] = Score.of(outcomes, len(thresholds) if name in BY_THRESHOLD else 1)
    return Summary(scores)


def of_model(trials: Sequence[Trial]) -> dict[str, Score]:
    """The two protocols that judge the model itself: accuracy and background_independence."""
    return {
        "accuracy": Score.of([protocols.accuracy(trial) for trial in trials]),
        "background_independence": Score.of(
            [protocols.background_independence(trial) for trial in trials],
            weights=[len(trial.without_object) for trial in trials],
        ),
    }
