"""Find or open the one MLflow run of a trained model, and fill it from the artifacts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import uuid4

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.mlflow_api import Metric, MlflowClient, MlflowException, Param, Run, hurried
from protoquant.tracking.connection.outage import outage, unanswered
from protoquant.tracking.connection.user import source_tags
from protoquant.tracking.runs.lineage import Lineage
from protoquant.tracking.runs.measurements import MetricHistory, curve_files, curves, metric_files, metrics

RUN_VARIABLE = "MLFLOW_RUN_ID"
_CALL = "register_call"
_FORBIDDEN = re.compile(r"[^\w./ -]")
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
_LONGEST_PARAM = 6000


def choose_run(client: MlflowClient, experiment: str, *, origin: Lineage, params: Mapping[str, str]) -> str:
    """Find the run of a bundle that an earlier call left, or open a new one.

    A run given by ``MLFLOW_RUN_ID`` takes precedence. Otherwise a run with the bundle's digest is used again, whatever
    its status, unless its parameters differ, as MLflow never changes a parameter. A run that differs is ended if it
    still counts as running.

    Args:
        client: An open client.
        experiment: Id of the experiment to look in.
        origin: Lineage of the bundle.
        params: Flat parameters.

    Returns:
        The id of the run; it holds the lineage as tags.

    Raises:
        ProtoQuantError: ``MLFLOW_RUN_ID`` names no run, or one that cannot hold this model.
    """
    if handed := os.environ.get(RUN_VARIABLE):
        return _handed_run(client, handed, origin, params)
    query = f"tags.bundle_digest = '{origin.bundle_digest}'"
    for run in client.search_runs([experiment], query, order_by=["attributes.start_time DESC"]):
        if not _conflicts(run, params):
            _drop_twins(client, experiment, run)
            return str(run.info.run_id)
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    name = f"model-{origin.bundle_digest[:8]}"
    tags = {**origin.tags(), **own_tags(origin), _CALL: uuid4().hex}
    run = client.create_run(experiment, run_name=name, tags=tags)
    _drop_twins(client, experiment, run)
    return str(run.info.run_id)


def _drop_twins(client: MlflowClient, experiment: str, run: Run) -> None:
    """Delete other runs of the same call: if the first response was lost, MLflow's client has repeated the request."""
    if call := run.data.tags.get(_CALL):
        for twin in client.search_runs([experiment], f"tags.{_CALL} = '{call}'"):
            if twin.info.run_id != run.info.run_id:
                client.delete_run(twin.info.run_id)


@contextmanager
def running(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Mark a run as running, then as finished, or as failed if the block raises.

    During an outage of MLflow it tries only briefly to mark the failure; a later call that sends the model uses the
    same run.
    """
    client.update_run(run_id, status="RUNNING")
    try:
        yield
    except BaseException as error:
        with hurried() if outage(error) else nullcontext(), suppress(MlflowException):
            client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Write the parameters; one that is already set stays."""
    there = client.get_run(run_id).data.params
    new = [Param(name, value[:_LONGEST_PARAM]) for name, value in params.items() if name not in there]
    for start in range(0, len(new), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=new[start : start + _PARAMS_PER_CALL])


def log_measurements(
    client: MlflowClient, run_id: str, *, workspace: Workspace, origin: Lineage, model_id: str | None = None
) -> None:
    """Write metrics, curves, files and lineage; a second call leaves the run as it is.

    Args:
        client: An open client.
        run_id: The run; running or finished.
        workspace: Holds the artifacts.
        origin: Lineage, for the tags.
        model_id: The logged model whose numbers change too; None while the run has none, as MLflow gives a new model
            the numbers of its run.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    run = client.get_run(run_id)
    points = [*_changed(metrics(workspace), run, model_id), *_points(curves(workspace), run.info.start_time)]
    for start in range(0, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])
    for name, value in _tags(origin).items():
        client.set_tag(run_id, name, value)
    for folder, path in _files(workspace):
        client.log_artifact(run_id, str(path), artifact_path=folder)
    client.log_dict(run_id, dict(origin.packages), "packages.json")


def _handed_run(client: MlflowClient, run_id: str, origin: Lineage, params: Mapping[str, str]) -> str:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if unanswered(error):
            raise
        message = f"{RUN_VARIABLE} names no run of this store, got {run_id!r}; unset it to let register open one"
        raise ProtoQuantError(message) from error
    held = run.data.tags.get("bundle_digest", origin.bundle_digest)
    conflicts = _conflicts(run, params)
    if held != origin.bundle_digest or conflicts:
        what = f"another value of {conflicts[0]}" if conflicts else "another model"
        message = f"the run {run_id} of {RUN_VARIABLE} already holds {what}; unset it to let register open one"
        raise ProtoQuantError(message)
    for name, value in _tags(origin).items():
        client.set_tag(run_id, name, value)
    return run_id


def _conflicts(run: Run, params: Mapping[str, str]) -> list[str]:
    """Names of the parameters that the run holds with another value."""
    return [name for name, value in params.items() if run.data.params.get(name, value) != value[:_LONGEST_PARAM]]


def own_tags(origin: Lineage) -> dict[str, str]:
    """MLflow's own tags of a new run or logged model; else MLflow would name the path of the running program."""
    return source_tags("protoquant register") | _commit(origin)


def _tags(origin: Lineage) -> dict[str, str]:
    return origin.tags() | _commit(origin)


def _commit(origin: Lineage) -> dict[str, str]:
    return {} if origin.git_commit == "none" else {"mlflow.source.git.commit": origin.git_commit}


def _changed(numbers: Mapping[str, float], run: Run, model_id: str | None) -> list[Metric]:
    """The numbers that the run does not hold yet; writing one again would draw a second point."""
    now = int(time.time() * 1000)
    named = {_FORBIDDEN.sub("_", name): value for name, value in numbers.items()}
    new = {name: value for name, value in named.items() if run.data.metrics.get(name) != value}
    return [Metric(name, value, now, 0, model_id=model_id) for name, value in new.items()]


def _points(found: Iterable[MetricHistory], start_time: int) -> list[Metric]:
    """All points of the curves; they share one time, so that MLflow recognizes a point that is written again."""
    return [
        Metric(_FORBIDDEN.sub("_", curve.name), value, start_time, step)
        for curve in found
        for step, value in curve.points
    ]


def _files(workspace: Workspace) -> list[tuple[str | None, Path]]:
    """The files to log with a run, each with its folder among the run's files."""
    tables = [(name.partition(".")[0], path) for name, path in curve_files(workspace).items()]
    drawn = [("evaluate", path) for path in sorted(workspace.evaluation.glob("*.csv"))]
    pages = [("report", path) for path in sorted(workspace.report.glob("*.html"))]
    inputs = [(None, path) for path in (workspace.params, workspace.lock) if path.is_file()]
    return [*metric_files(workspace).items(), *tables, *drawn, *pages, *inputs]
