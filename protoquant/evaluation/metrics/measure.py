"""The numbers of the test split, with n and an interval for each mean over images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from protoquant.core.artifacts import rounded
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.accuracy import Ranking, rank, softmax
from protoquant.evaluation.metrics.calibration import error_of
from protoquant.evaluation.metrics.compactness import cover_size, head_size, local_size
from protoquant.evaluation.metrics.intervals import Statistic, estimate, macro_of, mean_of
from protoquant.evaluation.score import EvaluationScores

METRICS = "metrics.json"
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """The ranked classes of the model and of the probe, with the true labels.

    Attributes:
        labels: True class of every image.
        ranking: The model's classes, best first.
        confidence: Probability of the predicted class.
        probe: The linear probe's classes, best first.
    """

    labels: Int[np.ndarray, " n"]
    ranking: Ranking
    confidence: Float[np.ndarray, " n"]
    probe: Ranking

    @property
    def correct(self) -> Float[np.ndarray, " n"]:
        """1.0 where the prediction is right, else 0.0."""
        return self.ranking.hits(self.labels, 1)


def judge(scores: EvaluationScores, labels: Int[np.ndarray, " n"]) -> Judged:
    """Rank the classes of every image by the model and by the probe."""
    return Judged(labels, rank(scores.logits), softmax(scores.logits).max(axis=1), rank(scores.probe_logits))


def measure(
    scores: EvaluationScores, judged: Judged, head: Float[np.ndarray, "c k"], config: EvaluateConfig, seed: int
) -> Numbers:
    """Measure everything that metrics.json holds.

    Args:
        scores: Scores of the pass over the test split.
        judged: The classes ranked by these scores.
        head: Non-negative weights (c, k).
        config: Intervals, bins and thresholds.
        seed: Seed of the bootstrap; every number has its own stream.

    Returns:
        Nested numbers: test (with the probe beside it), size, codebook.
    """
    n, c = scores.logits.shape
    sizes = image_sizes(scores.ledger, judged.ranking.predicted, config)

    def with_interval(name: str, statistic: Statistic) -> Numbers:
        return asdict(estimate(statistic, n, config, numpy_generator(seed, "evaluate", name)))

    def accuracies(ranking: Ranking, who: str) -> Numbers:
        top1 = ranking.hits(judged.labels, 1)
        return {
            "top1": with_interval(f"{who}top1", mean_of(top1)),
            "top5": with_interval(f"{who}top5", mean_of(ranking.hits(judged.labels, min(5, c)))),
            "macro": with_interval(f"{who}macro", macro_of(top1, judged.labels, c)),
        }

    gap = judged.correct - judged.probe.hits(judged.labels, 1)
    numbers = {
        "test": {
            **accuracies(judged.ranking, ""),
            "ece": with_interval("ece", error_of(judged.confidence, judged.correct, config.bins)),
            "ties": {"value": int(judged.ranking.tied.sum()), "n": n},
            "probe": accuracies(judged.probe, "probe-"),
            "top1_minus_probe": with_interval("gap", mean_of(gap)),
        },
        "size": {
            **asdict(head_size(head)),
            "local_size": with_interval("local_size", mean_of(sizes["local_size"].to_numpy(dtype=np.float64))),
            "cover_size": with_interval("cover_size", mean_of(sizes["cover_size"].to_numpy(dtype=np.float64))),
        },
        "codebook": scores.health.numbers(),
    }
    plain: Numbers = rounded(numbers, config.decimals)
    return plain


def measure_abstention(
    scores: EvaluationScores, judged: Judged, below: float | None, config: EvaluateConfig, seed: int
) -> Numbers:
    """Measure how often the model says that it sees no known part on images of classes that it knows.

    Args:
        scores: Scores of the pass over the test split.
        judged: The classes ranked by these scores.
        below: The model abstains if its largest logit is below this threshold; None: it never abstains.
        config: Intervals and decimals.
        seed: Seed of the bootstrap.

    Returns:
        The threshold, the share of images it abstains on, and how many of them it had right and wrong.
    """
    largest = scores.logits.max(axis=1)
    held = np.zeros(len(largest)) if below is None else (largest < below).astype(np.float64)
    numbers: Numbers = {
        "below": below,
        "share": asdict(estimate(mean_of(held), len(held), config, numpy_generator(seed, "evaluate", "abstention"))),
        "right": int((held * judged.correct).sum()),
        "wrong": int((held * (1.0 - judged.correct)).sum()),
    }
    plain: Numbers = rounded(numbers, config.decimals)
    return plain


def image_sizes(ledger: pd.DataFrame, predicted: Int[np.ndarray, " n"], config: EvaluateConfig) -> pd.DataFrame:
    """Count the prototypes that speak for the predicted class of every image.

    Args:
        ledger: Contributions as in :class:`EvaluationScores`.
        predicted: Predicted class of every image.
        config: epsilon of local_size and share of cover_size.

    Returns:
        local_size and cover_size (n rows); 0 where no prototype has a weight for the predicted class.
    """
    sizes = pd.DataFrame(0, index=range(len(predicted)), columns=["local_size", "cover_size"], dtype=np.int64)
    for_predicted = ledger[ledger["class"].to_numpy() == predicted[ledger["image"].to_numpy()]]
    for image, rows in for_predicted.groupby("image", sort=False):
        parts = rows["contribution"].to_numpy()
        sizes.loc[image] = [local_size(parts, config.epsilon), cover_size(parts, config.cover)]
    return sizes
