"""Runs a sweep from its name to its result: begin, resume, conclude, apply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protoquant.core.artifacts import rounded, write_json, write_table, writing
from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.pipeline.lease import lease
from protoquant.settings.params_file import override
from protoquant.settings.settings import Settings, read_params
from protoquant.sweep.choice import Choice, choose
from protoquant.sweep.importance import importance
from protoquant.sweep.log import SweepLog
from protoquant.sweep.page.page import render
from protoquant.sweep.page.picture import draw
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.records import SweepFolder, TrialRecord, surface_table, trials_table
from protoquant.sweep.run import run_trials
from protoquant.tracking.connection.address import check_tracking

KIND = "sweep_result"
PAGE, TRIALS, SURFACE, CHOICE, PICTURE = (
    "index.html",
    "trials.parquet",
    "surface.parquet",
    "choice.json",
    "accuracy-against-size.png",
)


@dataclass(frozen=True)
class SweepResult:
    """The results of a sweep so far.

    Attributes:
        name: Name of the sweep.
        folder: Folder of its result: page, picture and tables.
        keys: The searched keys.
        trials: The table of trials.
        choice: The winner; None if no trial is done.
        shares: Importance of each key.
        left: Number of trials that have not ended or have failed.
    """

    name: str
    folder: Path
    keys: tuple[str, ...]
    trials: pd.DataFrame
    choice: Choice | None
    shares: Mapping[str, float]
    left: int


def begin(name: str, workspace: Workspace, *, device: str, on_event: OnEvent) -> SweepResult:
    """Run a new sweep as params.yaml describes it.

    Args:
        name: Name of the sweep; its folder is ``artifacts/sweeps/NAME``.
        workspace: The workspace with images and features.
        device: Device, named as in ``PROTOQUANT_DEVICE``.
        on_event: Receives messages and progress.

    Raises:
        UsageError: The name is taken, or no node has what a trial needs. ConfigError: The space is impossible.
        ArtifactError: An input is missing or damaged. UnavailableError: Ray or MLflow does not answer.
        ProtoQuantError: Ray gave up; ended trials are kept.
    """
    folder = SweepFolder.of(workspace, name)
    Settings.load(workspace.params)
    plan = SweepPlan.make(name, read_params(workspace.params), workspace)
    check_tracking(workspace)
    with lease(folder.root, patience=0.0):
        folder.check_new()
        plan.write(folder.plan)
        return _go_on(plan, folder, workspace, device, on_event)


def resume(name: str, workspace: Workspace, *, device: str, on_event: OnEvent) -> SweepResult:
    """Resume a sweep that was interrupted: ended trials stay, and failed ones run again.

    Args:
        name: Name of the sweep.
        workspace: The workspace with images and features, which must be the same as at the start.
        device: Device, named as in ``PROTOQUANT_DEVICE``.
        on_event: Receives messages and progress.

    Raises:
        UsageError: There is no such sweep. Otherwise as :func:`begin`.
    """
    folder = SweepFolder.of(workspace, name)
    folder.check_there()
    check_tracking(workspace)
    with lease(folder.root, patience=0.0):
        return _go_on(SweepPlan.open(folder.plan), folder, workspace, device, on_event)


def answer(name: str, workspace: Workspace) -> SweepResult:
    """Return what a sweep has found so far, and write its result anew from the records.

    Raises:
        UsageError: There is no such sweep. ArtifactError: A record is damaged.
    """
    folder = SweepFolder.of(workspace, name)
    folder.check_there()
    return _conclude(SweepPlan.open(folder.plan), folder, folder.records())


def apply(name: str, workspace: Workspace) -> tuple[dict[str, Any], bool]:
    """Write the winner's values into params.yaml; everything else in it stays.

    Args:
        name: Name of the sweep.
        workspace: The workspace with params.yaml.

    Returns:
        The values by key, and whether params.yaml changed.

    Raises:
        UsageError: There is no such sweep. ProtoQuantError: No trial is done.
        ConfigError: The values are impossible together with those in params.yaml now.
    """
    folder = SweepFolder.of(workspace, name)
    found = answer(name, workspace)
    if found.choice is None:
        raise ProtoQuantError(
            f"no trial of sweep {name!r} is done, so there is no winner; see protoquant sweep show {name}"
        )
    changes = dict(next(r.point.changes for r in folder.records() if r.point.trial == found.choice.trial))
    return changes, override(workspace.params, changes, source=f"sweep {name}")


def differences(name: str, workspace: Workspace) -> list[str]:
    """Return the keys whose values in params.yaml differ from the sweep's, apart from the searched keys.

    The keys are those of quantize and train, seed and threads. ``dvc repro`` gives the winner's numbers only if there
    are none.
    """
    plan = SweepPlan.open(SweepFolder.of(workspace, name).plan)
    then, now = (_flat(Settings.parse(values)) for values in (plan.params, read_params(workspace.params)))
    searched = tuple(plan.config.space)
    return [
        key
        for key in sorted({*then, *now})
        if then.get(key) != now.get(key) and not any(key == one or key.startswith(f"{one}.") for one in searched)
    ]


def _go_on(plan: SweepPlan, folder: SweepFolder, workspace: Workspace, device: str, on_event: OnEvent) -> SweepResult:
    log = SweepLog(plan, workspace, on_event)
    try:
        run_trials(plan, folder, workspace, device=device, on_record=log.add, on_event=on_event)
    finally:
        # Ended trials are shown and logged after an interruption too.
        records = folder.records()
        found = _conclude(plan, folder, records) if records else None
        log.finish(records, found.folder if found else None, _headline(found), whole=bool(found and not found.left))
    if found is None:
        raise UsageError(f"sweep {plan.name!r} has no trials")
    if found.choice is not None:
        on_event(MessageEvent(found.choice.sentence))
    on_event(MessageEvent(f"page: {found.folder / PAGE}"))
    return found


def _conclude(plan: SweepPlan, folder: SweepFolder, records: list[TrialRecord]) -> SweepResult:
    """Write tables, page and picture from the records."""
    keys = tuple(plan.config.space)
    trials, surface = trials_table(records, list(keys)), surface_table(records)
    choice = choose(trials, plan.config.tolerance, plan.measure)
    shares = importance(trials, keys)
    left = plan.trials - int((trials["state"] != "failed").sum())
    facts = {"search": plan.config.search, "features": plan.inputs["features/train"][:12]}
    if left:
        facts["still to run"] = str(left)
    with writing(folder.result, KIND, dict(plan.inputs)) as out:
        write_table(out / TRIALS, _storable(trials))
        write_table(out / SURFACE, surface)
        write_json(out / CHOICE, rounded({"choice": asdict(choice) if choice else None, "importance": dict(shares)}))
        page = render(trials, surface, choice, shares, name=plan.name, keys=keys, facts=facts)
        (out / PAGE).write_text(page, encoding="utf-8")
        if choice is not None:
            draw(trials, surface, choice, out / PICTURE)
    return SweepResult(plan.name, folder.result, keys, trials, choice, shares, left)


def _storable(trials: pd.DataFrame) -> pd.DataFrame:
    """Give each column one type: columns that mix types become JSON text."""
    mixed = [name for name in trials.columns if trials[name].map(type).nunique() > 1 and trials[name].dtype == object]
    return trials.assign(**{name: trials[name].map(json.dumps) for name in mixed})


def _headline(found: SweepResult | None) -> dict[str, float]:
    if found is None or found.choice is None:
        return {}
    row = found.trials[found.trials["trial"] == found.choice.trial].iloc[0]
    return {f"chosen_{name}": float(row[name]) for name in ("accuracy", "class_size", "k", "prototypes")}


def _flat(settings: Settings) -> dict[str, Any]:
    from protoquant.tracking.runs.measurements import flatten

    values = settings.model_dump(mode="json")
    return dict(flatten({name: values[name] for name in ("seed", "threads", "quantize", "train")}))
