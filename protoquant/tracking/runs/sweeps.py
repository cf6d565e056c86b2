"""Write a sweep to MLflow: a parent run, and a child run for each trial that has ended, each written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.mlflow_api import Metric, MlflowClient, Param, Run
from protoquant.tracking.connection.store import Store
from protoquant.tracking.connection.user import source_tags

_SWEEP, _TRIAL, _PARENT = "sweep_digest", "sweep_trial", "mlflow.parentRunId"
_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_PER_CALL = 100
_SOURCE = "protoquant sweep"


@dataclass(frozen=True)
class SweepRun:
    """The identity of a sweep in MLflow.

    Attributes:
        name: Name of the sweep.
        digest: Digest of all that determines the sweep; it identifies the sweep's run.
        experiment: Name of the experiment.
        params: Flat parameters that all trials share.
    """

    name: str
    digest: str
    experiment: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class TrialRun:
    """A trial that has ended.

    Attributes:
        trial: Its name within the sweep.
        number: Its place in the order in which trials started.
        state: done, stopped or failed.
        error: Why it is not done, in one line.
        params: The parameters that it tried.
        metrics: Its numbers.
        curve: Numbers of its heads, one mapping per step.
    """

    trial: str
    number: int
    state: str
    error: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...] = field(default=())


def log_trials(store: Store, sweep: SweepRun, trials: Iterable[TrialRun]) -> str:
    """Write the trials that are not logged yet; a second call adds nothing.

    Args:
        store: An open store.
        sweep: The sweep; its parent run is created if it does not exist.
        trials: Trials that have ended.

    Returns:
        The id of the parent run, which stays running.
    """
    client = store.client
    experiment = experiment_id(store, sweep.experiment)
    parent = _parent(client, experiment, sweep)
    there = {run.data.tags[_TRIAL]: run for run in _children(client, experiment, parent.info.run_id)}
    for trial in trials:
        held = there.get(trial.trial)
        if held is not None and held.info.status == _STATUS[trial.state]:
            continue
        if held is not None:
            # The run is incomplete because a call was killed, or the trial has run again since.
            client.delete_run(held.info.run_id)
        _log(client, experiment, parent, trial)
    return str(parent.info.run_id)


def end_sweep(store: Store, run_id: str, *, metrics: Mapping[str, float], files: Path | None, whole: bool) -> None:
    """Write the result of a sweep into its parent run and end the run.

    Args:
        store: An open store.
        run_id: The parent run.
        metrics: Numbers of the chosen trial; empty where no trial is done.
        files: Folder whose files are logged; None: none.
        whole: Whether all trials have ended; else the run counts as killed until the sweep continues.
    """
    client = store.client
    held = client.get_run(run_id).data.metrics
    for name, value in metrics.items():
        if held.get(name) != value:
            client.log_metric(run_id, name, value)
    if files is not None:
        client.log_artifacts(run_id, str(files), artifact_path="sweep")
    client.set_terminated(run_id, "FINISHED" if whole else "KILLED")


def _parent(client: MlflowClient, experiment: str, sweep: SweepRun) -> Run:
    found = client.search_runs([experiment], f"tags.{_SWEEP} = '{sweep.digest}' and tags.{_TRIAL} = 'parent'")
    if found:
        run = found[0]
        if run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
    else:
        tags = {**source_tags(_SOURCE), _SWEEP: sweep.digest, _TRIAL: "parent"}
        run = client.create_run(experiment, run_name=f"sweep-{sweep.name}", tags=tags)
    _log_params(client, run, sweep.params)
    return run


def _children(client: MlflowClient, experiment: str, parent: str) -> list[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{_PARENT}` = '{parent}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _log(client: MlflowClient, experiment: str, parent: Run, trial: TrialRun) -> None:
    tags = {
        **source_tags(_SOURCE),
        _PARENT: parent.info.run_id,
        _SWEEP: parent.data.tags[_SWEEP],
        _TRIAL: trial.trial,
        "sweep_state": trial.state,
        **({"error": trial.error} if trial.error else {}),
    }
    run = client.create_run(experiment, run_name=f"trial-{trial.number}", tags=tags)
    _log_params(client, run, trial.params)
    start = run.info.start_time
    points = [Metric(name, float(value), start, 0) for name, value in trial.metrics.items()]
    points += [
        Metric(f"path/{name}", float(value), start, step)
        for step, row in enumerate(trial.curve)
        for name, value in row.items()
    ]
    for first in range(0, len(points), _PER_CALL):
        client.log_batch(run.info.run_id, metrics=points[first : first + _PER_CALL])
    client.set_terminated(run.info.run_id, _STATUS[trial.state])


def _log_params(client: MlflowClient, run: Run, params: Mapping[str, str]) -> None:
    new = [Param(name, value) for name, value in params.items() if name not in run.data.params]
    for first in range(0, len(new), _PER_CALL):
        client.log_batch(run.info.run_id, params=new[first : first + _PER_CALL])
