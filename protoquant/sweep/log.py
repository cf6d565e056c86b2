"""Logs a sweep to MLflow: each trial as it ends, and at the end whatever is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.settings.settings import Settings
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.records import TrialRecord
from protoquant.tracking.connection.address import TrackingUnavailableError

_CURVE = ("class_size", "train_top1", "validation_top1", "accuracy")


class SweepLog:
    """Logs a sweep to MLflow as a parent run with a child run for each trial.

    Args:
        plan: Plan of the sweep.
        workspace: The workspace; its own store is used if ``MLFLOW_TRACKING_URI`` is unset.
        on_event: Receives a warning when MLflow goes away, and another at the end if it is still away.
    """

    def __init__(self, plan: SweepPlan, workspace: Workspace, on_event: OnEvent) -> None:
        self._plan, self._workspace, self._on_event = plan, workspace, on_event
        self._away = False

    def add(self, record: TrialRecord) -> None:
        """Send a trial that has just ended; if MLflow is away, :meth:`finish` sends it later."""
        if not self._away:
            self._send([record])

    def finish(
        self, records: Sequence[TrialRecord], files: Path | None, metrics: Mapping[str, float], *, whole: bool
    ) -> None:
        """Send the trials that MLflow does not have yet, and the result.

        Args:
            records: All trials that have ended.
            files: Folder of the sweep's result; None if there is none.
            metrics: Numbers of the chosen trial.
            whole: Whether no trial is left.
        """
        self._send(records, files=files, metrics=metrics, end=True, whole=whole)

    def _send(
        self,
        records: Sequence[TrialRecord],
        *,
        files: Path | None = None,
        metrics: Mapping[str, float] | None = None,
        end: bool = False,
        whole: bool = False,
    ) -> None:
        from protoquant.tracking.connection.store import open_store
        from protoquant.tracking.runs.measurements import parameters
        from protoquant.tracking.runs.sweeps import SweepRun, end_sweep, log_trials

        params = parameters({**self._plan.params, "sweep": self._plan.config.model_dump(mode="json")})
        name = Settings.parse(self._plan.params).register_.name
        run = SweepRun(self._plan.name, self._plan.digest, name, params)
        try:
            with open_store(self._workspace, create=True) as store:
                parent = log_trials(store, run, [_trial(record) for record in records])
                if end:
                    end_sweep(store, parent, metrics=metrics or {}, files=files, whole=whole)
        except TrackingUnavailableError as error:
            if not self._away or end:
                later = f"the sweep is kept; protoquant sweep resume {self._plan.name} sends it when MLflow is back"
                self._on_event(MessageEvent(f"{error}; {later}", "warning"))
            self._away = True


def _trial(record: TrialRecord) -> Any:
    from protoquant.tracking.runs.sweeps import TrialRun

    return TrialRun(
        trial=record.point.trial,
        number=record.number,
        state=record.state,
        error=record.error,
        params={
            key: value if isinstance(value, str) else json.dumps(value) for key, value in record.point.changes.items()
        },
        metrics={**record.numbers, "seconds": record.seconds},
        curve=tuple({name: row[name] for name in _CURVE} for row in record.path if not row["final"]),
    )
