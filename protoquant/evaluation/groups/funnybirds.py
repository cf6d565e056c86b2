"""FunnyBirds: whether the explanations of an answer name the parts on which it depends, by removing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.funnybirds.classes import ClassParts
from protoquant.evaluation.metrics.funnybirds.scores import Score
from protoquant.evaluation.metrics.funnybirds.summary import (
    BY_THRESHOLD,
    FIXED,
    THRESHOLDS,
    Summary,
    of_model,
    summarise,
)
from protoquant.evaluation.metrics.intervals import Statistic, estimate
from protoquant.evaluation.subject import GroupResult, LackingDataError, Subject
from protoquant.evaluation.trials import Tried, try_images

TABLE = "funnybirds.csv"
CURVES = "funnybirds_thresholds.csv"


def measure(subject: Subject, split: str) -> GroupResult:
    """Remove parts and objects from every image that has interventions, and run the protocols on both explanations.

    Returns:
        Numbers of the model (accuracy, background independence), and of each explanation method: at the threshold
        that is best on these images, as the protocol has it, and under ``fixed`` at one that nothing was chosen for.
        A table of images and one of thresholds.

    Raises:
        LackingDataError: No image has all interventions, or the data does not say which parts its classes have.
    """
    classes = class_parts(subject)
    tried = try_images(subject, split)
    model = of_model(tried.trials)
    numbers: dict[str, Any] = {
        name: _estimate(subject, name, score.statistic(), score) for name, score in model.items()
    } | {"skipped": _skipped(model), "at_edge": int(tried.at_edge.sum())}
    summaries = {name: summarise(tried.trials, found, classes) for name, found in tried.explained.items()}
    for name, summary in summaries.items():
        chosen = _numbers(subject, name, summary, summary.best) | {"threshold": float(THRESHOLDS[summary.best])}
        fixed = _numbers(subject, f"{name}-fixed", summary, summary.fixed) | {"threshold": FIXED}
        counts = {"skipped": _skipped(summary.scores), "without_evidence": _without_evidence(tried, name)}
        numbers[name] = {**chosen, **counts, "fixed": fixed}
    return GroupResult(numbers, {TABLE: _of_images(tried, model, summaries), CURVES: _of_thresholds(summaries)})


def class_parts(subject: Subject) -> ClassParts:
    """The variant of every part in every class of the model, numbered.

    Raises:
        LackingDataError: The schema does not name the variants of every class.
    """
    schema = subject.parts.schema
    variants = schema.variants or {}
    for name in subject.bundle.classes:
        if name not in variants:
            raise LackingDataError(
                f"it needs the variants of the parts of every class, and {subject.parts.parts} names none of {name}"
            )
    of_parts = [[variants[name][part] for name in subject.bundle.classes] for part in schema.parts]
    return ClassParts(np.column_stack([np.unique(column, return_inverse=True)[1] for column in of_parts]))


def _numbers(subject: Subject, name: str, summary: Summary, column: int) -> dict[str, Any]:
    """Every protocol and aggregate at a threshold."""
    return {
        key: _estimate(subject, f"{name}-{key}", statistic, summary.behind(key))
        for key, statistic in summary.statistics(column).items()
    }


def _estimate(subject: Subject, name: str, statistic: Statistic, score: Score) -> dict[str, Any] | None:
    """A score with its interval over images, where n counts those that were not skipped; None if all were."""
    everyone = np.arange(len(score.values))
    if not np.isfinite(statistic(everyone)):
        return None
    rng = numpy_generator(subject.seed, "evaluate", f"funnybirds-{name}")
    return asdict(estimate(statistic, len(everyone), subject.config, rng)) | {"n": score.n}


def _skipped(scores: Mapping[str, Score]) -> dict[str, dict[str, int]]:
    """Images that a protocol skipped, by reason."""
    counts = {name: {str(reason): count for reason, count in score.skipped.items()} for name, score in scores.items()}
    return {name: reasons for name, reasons in counts.items() if reasons}


def _without_evidence(tried: Tried, name: str) -> int:
    """Images whose answer is explained by nothing, so that no part is important."""
    pairs = zip(tried.trials, tried.explained[name], strict=True)
    return sum(bool(found.total[trial.predicted] <= 0) for trial, found in pairs)


def _of_images(tried: Tried, model: Mapping[str, Score], summaries: Mapping[str, Summary]) -> pd.DataFrame:
    """One row for each image and explanation method; empty where a protocol skips the image."""
    frames = []
    for name, summary in summaries.items():
        columns: dict[str, Any] = {"image_id": tried.image_ids, "explainer": name, "at_edge": tried.at_edge}
        columns |= {key: score.values[:, 0] for key, score in model.items()}
        for key, score in summary.scores.items():
            columns[key] = score.values[:, summary.best if key in BY_THRESHOLD else 0]
        columns |= {f"{key}_fixed": summary.scores[key].values[:, summary.fixed] for key in BY_THRESHOLD}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _of_thresholds(summaries: Mapping[str, Summary]) -> pd.DataFrame:
    """The scores of each method at each threshold of the protocol and at the fixed one, which comes last."""
    frames = []
    for name, summary in summaries.items():
        columns: dict[str, Any] = {"explainer": name, "threshold": np.append(THRESHOLDS, FIXED)}
        columns |= {key: summary.scores[key].value for key in BY_THRESHOLD}
        frame = pd.DataFrame(columns)
        frame["chosen"] = frame.index == summary.best
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
