"""The assessment of a trained model on labelled images of another data set: its accuracy and its confusions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from protoquant.core.artifacts import write_json, writing
from protoquant.core.errors import DataError, one_line, suggest
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.core.seeding import numpy_generator
from protoquant.data.config import PrepareConfig
from protoquant.data.readers.registry import reader
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.calibration import reliability
from protoquant.evaluation.metrics.intervals import estimate, macro_of, mean_of
from protoquant.evaluation.tables import write_csv
from protoquant.model.classifier import BATCH, Model

KIND = "assessment"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
CONFUSIONS = "confusions.csv"
Split = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True)
class Assessment:
    """The result of an assessment.

    Attributes:
        out: Folder of the tables.
        numbers: The numbers in ``metrics.json``.
    """

    out: Path
    numbers: dict[str, Any]


def assess(
    model: Model,
    *,
    data: PrepareConfig,
    root: Path,
    split: Split,
    out: Path,
    config: EvaluateConfig,
    seed: int,
    workers: int,
    on_event: OnEvent,
) -> Assessment:
    """Classify every image of a data set and compare with its labels.

    Args:
        model: The model; it is only read.
        data: Reader of the data set.
        root: Root of the data set.
        split: The split to measure; ``all`` also works where the data set has no splits.
        out: Folder for the numbers, the answer to each image and the most frequent confusions.
        config: Intervals, bins, decimals.
        seed: Seed of the bootstrap.
        workers: Workers of a reader that renders its images.
        on_event: Receives progress and a message with the accuracy.

    Raises:
        DataError: The data set cannot be read, has no image of the split, or has a class that the model does not know.
    """
    with tempfile.TemporaryDirectory(prefix="protoquant-") as drawn:
        listing = reader(data.reader)(root, into=Path(drawn), config=data, workers=workers, on_event=on_event)
        frame = listing.frame if split == "all" else listing.frame[listing.frame["split"] == split]
        if frame.empty:
            raise DataError(f"{root} has no image of split {split}; choose another split, or all")
        _check_classes(frame["class_name"].unique().tolist(), model.classes, root)
        answers = _answers(model, frame, listing.image_root, on_event)
    right = answers[answers["error"] == ""]
    if right.empty:
        raise DataError(f"none of the {len(answers):,} images of {root} can be read; {answers['error'].iloc[0]}")
    numbers = _measure(right, model.classes, config, seed) | {"unreadable": len(answers) - len(right)}
    with writing(out, KIND, split=split) as folder:
        write_json(folder / METRICS, numbers)
        write_csv(folder / PREDICTIONS, answers, config.decimals)
        write_csv(folder / CONFUSIONS, _confusions(right), config.decimals)
    top1, bad = numbers["top1"], answers[answers["error"] != ""]
    on_event(MessageEvent(f"top-1 {top1['value']:.4f} ({top1['low']:.4f} to {top1['high']:.4f}, n {top1['n']})"))
    if len(bad):
        said = f"{len(bad):,} of {len(answers):,} images cannot be read; the first: {bad['error'].iloc[0]}"
        on_event(MessageEvent(f"{said}; {out / PREDICTIONS} names them all", "warning"))
    return Assessment(out, numbers)


def _check_classes(names: Sequence[str], known: Sequence[str], root: Path) -> None:
    for name in names:
        if name not in known:
            raise DataError(f"{root} has a class {name!r} that the model does not know{suggest(name, known)}")


def _answers(model: Model, frame: pd.DataFrame, folder: Path, on_event: OnEvent) -> pd.DataFrame:
    rows = list(zip(frame["path"], frame["class_name"], strict=True))
    starts = range(0, len(rows), BATCH)
    parts = track(
        (_batch(model, rows[start : start + BATCH], folder) for start in starts),
        "assess",
        len(starts),
        "batches",
        on_event,
    )
    return pd.DataFrame([row for part in parts for row in part])


def _batch(model: Model, rows: Sequence[tuple[str, str]], folder: Path) -> list[dict[str, Any]]:
    """Answers to a few images; an image that cannot be read gets its error, and the others are still answered."""
    try:
        found = model.predict([folder / path for path, _ in rows])
    except DataError as error:
        if len(rows) == 1:
            row = {"image_id": rows[0][0], "class": rows[0][1], "predicted": "", "probability": 0.0}
            return [row | {"error": one_line(error)}]
        return [answer for row in rows for answer in _batch(model, [row], folder)]
    return [
        {
            "image_id": path,
            "class": name,
            "predicted": one.class_name,
            "probability": one.probability,
            "error": "",
        }
        for (path, name), one in zip(rows, found, strict=True)
    ]


def _measure(answers: pd.DataFrame, classes: Sequence[str], config: EvaluateConfig, seed: int) -> dict[str, Any]:
    correct = (answers["class"] == answers["predicted"]).to_numpy(dtype=float)
    labels = answers["class"].map({name: label for label, name in enumerate(classes)}).to_numpy()
    present = np.unique(labels)
    n, dense = len(answers), np.searchsorted(present, labels)
    rng = numpy_generator(seed, "assess")
    return {
        "top1": asdict(estimate(mean_of(correct), n, config, rng)),
        "macro": asdict(estimate(macro_of(correct, dense, len(present)), n, config, rng)),
        "ece": reliability(answers["probability"].to_numpy(), correct, config.bins).error,
        "classes": len(present),
    }


def _confusions(answers: pd.DataFrame) -> pd.DataFrame:
    wrong = answers[answers["class"] != answers["predicted"]]
    counted = wrong.groupby(["class", "predicted"]).size().rename("images").reset_index()
    return counted.sort_values(["images", "class", "predicted"], ascending=[False, True, True], ignore_index=True)
