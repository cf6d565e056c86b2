"""Which MLflow this is: the server of MLFLOW_TRACKING_URI, or a SQLite file in the workspace."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.mlflow_api import MlflowClient, MlflowException, mlflow

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
_LONGEST_REASON = 200
_SQLITE = b"SQLite format 3\x00"


@dataclass(frozen=True)
class Store:
    """An open connection to MLflow.

    Attributes:
        client: Runs and registered models.
        place: Where that is, for messages; holds no password.
        artifacts: Folder of the artifacts of the workspace's own store; None where a server decides.
    """

    client: MlflowClient
    place: str
    artifacts: Path | None


@contextmanager
def open_store(workspace: Workspace, *, create: bool) -> Iterator[Store]:
    """Connect to the store that the environment names, or else to the workspace's own.

    Inside the block MLflow's own functions use the same store and tell nothing but errors.

    Args:
        workspace: Holds ``mlflow.db`` and ``mlruns/`` where ``MLFLOW_TRACKING_URI`` is unset.
        create: Whether the workspace's own store may be made.

    Raises:
        ProtoQuantError: There is no store, or MLflow refused something inside the block.
    """
    uri = os.environ.get(URI_VARIABLE)
    if uri:
        with _quiet(), _refusals(uri):
            yield Store(MlflowClient(), _without_password(uri), None)
        return
    database = workspace.root.resolve() / DATABASE
    _check(database, create=create)
    uri = f"sqlite:///{database}"
    with _quiet(), _refusals(uri):
        mlflow.set_tracking_uri(uri)
        try:
            yield Store(MlflowClient(), str(database), workspace.root.resolve() / ARTIFACTS)
        finally:
            mlflow.set_tracking_uri(None)


def experiment_id(store: Store, name: str) -> str:
    """Find or make the experiment that holds the runs.

    MLflow's own variables go first. In the workspace's own store an experiment of that name may point to the artifacts
    of another folder, when the workspace was copied or moved; the next free ``NAME-2`` is used then.

    Args:
        store: An open store.
        name: Name of the experiment.
    """
    if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return str(store.client.get_experiment(named).experiment_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    location = store.artifacts.as_uri() if store.artifacts else None
    for candidate in chain([name], (f"{name}-{number}" for number in count(2))):
        found = store.client.get_experiment_by_name(candidate)
        if found is None:
            return str(store.client.create_experiment(candidate, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            message = (
                f"the MLflow experiment {candidate!r} is deleted in {store.place}; "
                f"restore it (mlflow experiments restore -x {found.experiment_id}) or change register.name"
            )
            raise ProtoQuantError(message)
        if location is None or found.artifact_location == location:
            break
    return str(found.experiment_id)


def _check(database: Path, *, create: bool) -> None:
    """MLflow would make a missing database, and try a damaged one again for minutes."""
    if not database.is_file():
        if create:
            return
        message = f"no model registry at {database}; run the pipeline (dvc repro) or set {URI_VARIABLE}"
        raise ProtoQuantError(message)
    with database.open("rb") as file:
        head = file.read(len(_SQLITE))
    if head not in (_SQLITE, b""):
        message = f"{database} is damaged: not a SQLite file; move it away and run register again"
        raise ProtoQuantError(message)


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        place = _without_password(uri)
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        message = f"MLflow at {place} refused: {reason.replace(uri, place)}"
        raise ProtoQuantError(message) from error


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/]*@", "//", uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what MLflow, its migrations and its retries tell on the way; errors still pass."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
