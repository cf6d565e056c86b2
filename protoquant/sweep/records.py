"""Keeps the folder of a sweep: its plan, a record of every trial that has ended, its result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from protoquant.core.artifacts import open_artifact, read_json, rounded, write_json, writing
from protoquant.core.errors import ArtifactError, UsageError, suggest
from protoquant.core.workspace import Workspace
from protoquant.sweep.points import SearchPoint

State = Literal["done", "stopped", "failed"]
_KIND, _FILE = "trial", "trial.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
NUMBERS = ("k", "accuracy", "n", "validation_top1", "class_size", "prototypes", "nonzeros", "temperature", "probe_top1")
"""Numbers of the model of a done trial, as columns of the table of trials."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial that has ended.

    Attributes:
        point: The point that it tried.
        number: Its place in the order of start, from 1.
        state: ``done``, ``stopped`` (ended early as one of the weaker trials) or ``failed``.
        error: Why it failed or was stopped, in one line; empty otherwise.
        seconds: How long it took, in the run that ended it.
        numbers: Numbers of its model; empty unless it is done.
        path: A row for each head; empty unless it is done.
    """

    point: SearchPoint
    number: int
    state: State
    error: str
    seconds: float
    numbers: Mapping[str, Any]
    path: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep: ``artifacts/sweeps/NAME``."""

    root: Path

    @classmethod
    def of(cls, workspace: Workspace, name: str) -> SweepFolder:
        """Return the folder of the sweep of a name.

        Raises:
            UsageError: The name is not valid.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"the name of a sweep must be letters, digits and _ . -, got {name!r}")
        return cls(workspace.sweeps / name)

    @property
    def plan(self) -> Path:
        """Folder of the plan."""
        return self.root / "plan"

    @property
    def result(self) -> Path:
        """Folder of the tables, page and picture."""
        return self.root / "result"

    def check_new(self) -> None:
        """Refuse a name that is taken; a sweep without an ended trial may be replaced.

        Raises:
            UsageError: A sweep of this name has ended trials.
        """
        if self.plan.is_dir() and (ended := len(self.records())):
            name = self.root.name
            raise UsageError(
                f"there is a sweep {name!r} with {ended} ended trials ({self.root}); go on with it "
                f"(protoquant sweep resume {name}), choose another name, or remove the folder"
            )

    def check_there(self) -> None:
        """Refuse a name that no sweep has.

        Raises:
            UsageError: There is no sweep of this name.
        """
        if not self.plan.is_dir():
            known = [path.parent.name for path in sorted(self.root.parent.glob("*/plan"))]
            listed = f"; there are: {', '.join(known)}" if known else ""
            raise UsageError(f"there is no sweep {self.root.name!r}{suggest(self.root.name, known)}{listed}")

    def write(self, record: TrialRecord) -> None:
        """Write the record of a trial, replacing an older record of the same trial."""
        measured = {
            "number": record.number,
            "state": record.state,
            "error": record.error,
            "seconds": record.seconds,
            "numbers": dict(record.numbers),
            "path": [dict(row) for row in record.path],
        }
        with writing(self.root / "trials" / record.point.trial, _KIND) as folder:
            # The changes name the trial, so they keep all their digits.
            write_json(folder / _FILE, {"changes": dict(record.point.changes), **rounded(measured, digits=9)})

    def records(self) -> list[TrialRecord]:
        """Return the trials that have ended, in the order of their numbers.

        Raises:
            ArtifactError: A record is damaged.
        """
        found = []
        for folder in sorted((self.root / "trials").glob("[!.]*")):
            open_artifact(folder, _KIND)
            raw = read_json(folder / _FILE)
            point = SearchPoint(raw["changes"])
            if point.trial != folder.name:
                raise ArtifactError(f"{folder} holds trial {point.trial}; remove the folder, then resume the sweep")
            found.append(
                TrialRecord(
                    point,
                    raw["number"],
                    raw["state"],
                    raw["error"],
                    raw["seconds"],
                    _with_accuracy(raw["numbers"]),
                    tuple(map(_with_accuracy, raw["path"])),
                )
            )
        return sorted(found, key=lambda record: (record.number, record.point.trial))


def trials_table(records: list[TrialRecord], keys: list[str]) -> pd.DataFrame:
    """Build a table with one row for each trial.

    Args:
        records: Trials that have ended.
        keys: The searched keys, one column each; lists and mappings become JSON text.
    """
    rows = [
        {
            "trial": record.point.trial,
            "number": record.number,
            **{key: _cell(record.point.changes.get(key)) for key in keys},
            "state": record.state,
            "error": record.error,
            "seconds": record.seconds,
            **{name: record.numbers.get(name, float("nan")) for name in NUMBERS},
        }
        for record in records
    ]
    return pd.DataFrame(rows, columns=["trial", "number", *keys, "state", "error", "seconds", *NUMBERS])


def surface_table(records: list[TrialRecord]) -> pd.DataFrame:
    """Build a table with one row for each head of every done trial; ``final`` marks the head of its model."""
    told = (
        "k",
        "temperature",
        "penalty",
        "nonzeros",
        "prototypes",
        "class_size",
        "train_top1",
        "validation_top1",
        "accuracy",
        "final",
    )
    rows = [
        {"trial": record.point.trial, **{name: row[name] for name in told}} for record in records for row in record.path
    ]
    return pd.DataFrame(rows, columns=["trial", *told])


def _with_accuracy(numbers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Numbers of older versions, which measured on validation alone, with the accuracy that counts."""
    if "accuracy" in numbers or "validation_top1" not in numbers:
        return numbers
    return {**numbers, "accuracy": numbers["validation_top1"]}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
