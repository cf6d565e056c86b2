"""Collect the measurements of the stages as flat names and numbers, independently of any tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protoquant.core.artifacts import read_json
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.evaluation.metrics.registry import CLASS_SIZE, GLOBAL_SIZE, PROBE_TOP1, STAGE, TOP1, is_tracked

PATH = "train.path"
"""Prefix of the names of the path's curves; each head of the path is one step."""


@dataclass(frozen=True)
class MetricHistory:
    """One measured quantity along the epochs of a fit or the points of a path.

    Attributes:
        name: Dotted name.
        points: Pairs of step and value, without the values that were not measured.
    """

    name: str
    points: tuple[tuple[int, float], ...]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested values dotted names.

    Args:
        values: Nested mappings; anything else is a value.
        prefix: Put before each name.

    Returns:
        Names such as ``train.temperature``, in the order of the mapping.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat.update(flatten(value, name))
        else:
            flat[name] = value
    return flat


def parameters(params: Mapping[str, Any]) -> dict[str, str]:
    """Flatten params.yaml into text, lists as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in flatten(params).items()
    }


def metrics(workspace: Workspace) -> dict[str, float]:
    """Collect the final numbers of all stages; the first part of a name is the stage.

    Text and lists stay in the files.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    found: dict[str, float] = {}
    for stage, path in metric_files(workspace).items():
        values = read_json(path)
        if not isinstance(values, dict):
            message = f"{path} is damaged: not a mapping of names to numbers; run the stage again"
            raise ArtifactError(message)
        found.update(
            (name, float(value))
            for name, value in flatten(values, stage).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
            if stage != STAGE or is_tracked(name.removeprefix(f"{STAGE}."))
        )
    return found


def metric_files(workspace: Workspace) -> dict[str, Path]:
    """The JSON file of each stage that measures something."""
    return {
        "quantize": workspace.codebook / "metrics.json",
        "train": workspace.bundle / "metrics.json",
        STAGE: workspace.evaluation / "metrics.json",
    }


def curve_files(workspace: Workspace) -> dict[str, Path]:
    """The tables that hold curves, by the prefix of the curves' names; some exist only where their training ran."""
    always = {
        "quantize.history": workspace.codebook / "history.csv",
        PATH: workspace.bundle / "path.csv",
    }
    # A curve of the name of a final number would hide it, so these end in history as quantize's does.
    perhaps = {f"train.{name}.history": workspace.bundle / f"{name}.csv" for name in ("joint", "choice", "pruning")}
    return always | {name: path for name, path in perhaps.items() if path.is_file()}


def curves(workspace: Workspace) -> list[MetricHistory]:
    """Read each numeric column as a curve; the step is the column ``epoch``, or else the row number.

    On the path, ``epoch`` is not a step but the epoch that a head was taken from, which is the same for most heads.

    Raises:
        ArtifactError: A table is missing or damaged.
    """
    found = []
    for name, path in curve_files(workspace).items():
        table = _read_csv(path)
        counted = "epoch" in table.columns and name != PATH
        steps = table["epoch"] if counted else table.index.to_series()
        for column in table.select_dtypes("number").columns:
            pairs = zip(steps, table[column], strict=True)
            points = tuple((int(step), float(value)) for step, value in pairs if pd.notna(value))
            if points and not (counted and column == "epoch"):
                found.append(MetricHistory(f"{name}.{column}", points))
    return found


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError as error:
        message = f"{path} is missing; run the stage that writes it (dvc repro)"
        raise ArtifactError(message) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        message = f"{path} is damaged: not CSV; run the stage again"
        raise ArtifactError(message) from error


@dataclass(frozen=True)
class HeadlineMetrics:
    """The headline numbers of a version in the registry; accuracies are fractions.

    Attributes:
        prototypes: Number of prototypes.
        class_size: Mean number of prototypes per class.
        validation_top1: Accuracy on validation.
        test_top1: Accuracy on test.
        test_low: Lower end of its interval.
        test_high: Upper end.
        test_n: Number of test images.
        probe_top1: Accuracy of the linear probe on test.
        cross_fitted_top1: Accuracy of heads of the chosen size on images that they were not fitted on; None where
            validation chose the head.
    """

    prototypes: int
    class_size: float
    validation_top1: float
    test_top1: float
    test_low: float
    test_high: float
    test_n: int
    probe_top1: float
    cross_fitted_top1: float | None = None

    def tags(self) -> dict[str, str]:
        """Sizes and accuracies as MLflow tags."""
        chosen = {} if self.cross_fitted_top1 is None else {"cross_fitted_accuracy": f"{self.cross_fitted_top1:.4f}"}
        return {
            "prototypes": str(self.prototypes),
            "class_size": f"{self.class_size:.2f}",
            "validation_accuracy": f"{self.validation_top1:.4f}",
            "test_accuracy": f"{self.test_top1:.4f}",
            "test_interval": f"{self.test_low:.4f} to {self.test_high:.4f}, n {self.test_n}",
            "probe_test_accuracy": f"{self.probe_top1:.4f}",
            **chosen,
        }

    def sentence(self) -> str:
        """The description of a version."""
        return (
            f"{self.prototypes} prototypes, {self.class_size:.1f} per class. "
            f"Top-1 accuracy on test {self.test_top1:.4f} [{self.test_low:.4f}, {self.test_high:.4f}] "
            f"(n = {self.test_n}), linear probe {self.probe_top1:.4f}; "
            f"on validation {self.validation_top1:.4f}{self._how()}."
        )

    def _how(self) -> str:
        """How the head was chosen, where validation did not choose it."""
        found = self.cross_fitted_top1
        return "" if found is None else f", cross-fitted before joint training {found:.4f}"


def headline(workspace: Workspace) -> HeadlineMetrics:
    """Pick the headline numbers out of all metrics.

    Raises:
        ArtifactError: A file is missing or damaged, or lacks one of the numbers.
    """
    found = metrics(workspace)
    names = {
        "prototypes": GLOBAL_SIZE.tracked,
        "class_size": CLASS_SIZE.tracked,
        "validation_top1": "train.validation.top1",
        "test_top1": f"{TOP1.tracked}.value",
        "test_low": f"{TOP1.tracked}.low",
        "test_high": f"{TOP1.tracked}.high",
        "test_n": f"{TOP1.tracked}.n",
        "probe_top1": f"{PROBE_TOP1.tracked}.value",
    }
    if missing := [name for name in names.values() if name not in found]:
        message = f"the metrics of the stages lack {', '.join(missing)}; run the pipeline again (dvc repro)"
        raise ArtifactError(message)
    return HeadlineMetrics(
        prototypes=int(found[names["prototypes"]]),
        test_n=int(found[names["test_n"]]),
        cross_fitted_top1=found.get("train.choice.top1"),
        **{field: found[name] for field, name in names.items() if field not in ("prototypes", "test_n")},
    )
