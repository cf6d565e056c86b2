"""Per-image predictions and contributions, and the curves that ``dvc plots show`` draws."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from protoquant.core.artifacts import write_table
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.accuracy import class_table, confusion, softmax
from protoquant.evaluation.metrics.calibration import reliability
from protoquant.evaluation.metrics.compactness import class_sizes
from protoquant.evaluation.metrics.measure import Judged, image_sizes
from protoquant.evaluation.score import EvaluationScores

PREDICTIONS = "predictions.parquet"
CONTRIBUTIONS = "contributions.parquet"
CONFUSION = "confusion.csv"
RELIABILITY = "reliability.csv"
PER_CLASS = "per_class.csv"


def predictions_table(
    image_ids: tuple[str, ...], scores: EvaluationScores, judged: Judged, config: EvaluateConfig
) -> pd.DataFrame:
    """One row per test image, in the order of the store.

    Args:
        image_ids: Relative POSIX path of every image.
        scores: Logits and contributions.
        judged: The classes ranked by these logits.
        config: Thresholds of the sizes.

    Returns:
        image_id, label, predicted, probability (of the predicted class), logit, correct, tied, true_probability,
        true_logit, top5 (classes, best first), local_size, cover_size, probe_predicted.
    """
    every = np.arange(len(image_ids))
    probabilities, predicted = softmax(scores.logits), judged.ranking.predicted
    sizes = image_sizes(scores.ledger, predicted, config)
    return pd.DataFrame(
        {
            "image_id": pd.array(list(image_ids), dtype="str"),
            "label": judged.labels,
            "predicted": predicted,
            "probability": probabilities[every, predicted],
            "logit": scores.logits[every, predicted],
            "correct": predicted == judged.labels,
            "tied": judged.ranking.tied,
            "true_probability": probabilities[every, judged.labels],
            "true_logit": scores.logits[every, judged.labels],
            "top5": list(judged.ranking.order),
            "local_size": sizes["local_size"],
            "cover_size": sizes["cover_size"],
            "probe_predicted": judged.probe.predicted,
        }
    )


def contributions_table(image_ids: tuple[str, ...], scores: EvaluationScores) -> pd.DataFrame:
    """The ledger with image ids: image_id, class, code, score, weight, contribution, row, col."""
    names = pd.Series(list(image_ids), dtype="str").take(scores.ledger["image"].to_numpy()).reset_index(drop=True)
    return pd.concat([names.rename("image_id"), scores.ledger.drop(columns="image")], axis=1)


def write_tables(
    folder: Path,
    *,
    image_ids: tuple[str, ...],
    classes: tuple[str, ...],
    scores: EvaluationScores,
    judged: Judged,
    head: Float[np.ndarray, "c k"],
    config: EvaluateConfig,
) -> None:
    """Write every table and curve of the stage into a folder.

    Args:
        folder: Existing folder that the files are written into.
        image_ids: Relative POSIX path of every image.
        classes: Class names by index.
        scores: Logits and contributions.
        judged: The classes ranked by these logits.
        head: Non-negative weights (c, k).
        config: Bins, thresholds and decimals.
    """
    predicted = judged.ranking.predicted
    write_table(folder / PREDICTIONS, predictions_table(image_ids, scores, judged, config))
    write_table(folder / CONTRIBUTIONS, contributions_table(image_ids, scores))
    names = np.array(classes, dtype=object)
    confused = pd.DataFrame({"actual": names[judged.labels], "predicted": names[predicted]})
    per_class = class_table(confusion(judged.labels, predicted, len(classes)), classes, class_sizes(head))
    reliable = reliability(judged.confidence, judged.correct, config.bins).table()
    for name, frame in ((CONFUSION, confused), (PER_CLASS, per_class), (RELIABILITY, reliable)):
        write_csv(folder / name, frame, config.decimals)


def write_csv(path: Path, frame: pd.DataFrame, decimals: int) -> None:
    """Write a table as CSV, its numbers rounded."""
    frame.round(decimals).to_csv(path, index=False, lineterminator="\n")
