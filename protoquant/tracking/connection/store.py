"""Open the MLflow store: the server of MLFLOW_TRACKING_URI, or a SQLite file in the workspace."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain, count
from pathlib import Path

from filelock import FileLock

from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.address import (
    URI_VARIABLE,
    USER_VARIABLES,
    TrackingUnavailableError,
    UnknownUserError,
    database_file,
    knock,
    no_registry,
    tracking_uri,
    without_password,
)
from protoquant.tracking.connection.mlflow_api import Experiment, MlflowClient, MlflowException, mlflow
from protoquant.tracking.connection.outage import denied, is_foreign, outage

ALREADY = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
ARTIFACTS = "mlruns"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The tag by which MLflow tells an experiment that trains models from one that traces agents."""
_LONGEST_REASON = 200
_SQLITE = b"SQLite format 3\x00"


@dataclass(frozen=True)
class Store:
    """An open connection to MLflow.

    Attributes:
        client: Client for runs and registered models.
        place: Address or file of the store, for messages; without password.
        artifacts: Folder of the artifacts beside a database file; None where a server decides.
    """

    client: MlflowClient
    place: str
    artifacts: Path | None


@contextmanager
def open_store(workspace: Workspace, *, create: bool) -> Iterator[Store]:
    """Connect to the store that the environment names, or else to the workspace's own.

    Inside the block MLflow's own functions use the same store and log nothing but errors.

    Args:
        workspace: Holds ``mlflow.db`` and ``mlruns/`` where ``MLFLOW_TRACKING_URI`` is unset.
        create: Whether a missing database file may be created.

    Raises:
        TrackingUnavailableError: MLflow, its database or its file store did not answer.
        UnknownUserError: MLflow does not let this user in.
        ProtoQuantError: There is no store, or MLflow refused something inside the block.
    """
    uri = tracking_uri(workspace)
    database = database_file(uri)
    if database:
        _check(database, create=create)
    else:
        knock(uri)
    with _quiet(), _refusals(uri), _told(uri):
        if database:
            with _opening(database):
                client = MlflowClient()
            yield Store(client, str(database), database.parent / ARTIFACTS)
        else:
            yield Store(MlflowClient(), without_password(uri), None)


def experiment_id(store: Store, name: str) -> str:
    """Find or create the experiment that holds the runs.

    MLflow's own variables take precedence. If the workspace was copied or moved, an experiment of that name in a
    database file may point to the artifacts of another folder; the next free ``NAME-2``, ``NAME-3``, ... is used then.
    An experiment that has no kind becomes one that trains models.

    Args:
        store: An open store.
        name: Name of the experiment.
    """
    if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return _of_kind(store.client, store.client.get_experiment(named))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    location = store.artifacts.as_uri() if store.artifacts else None
    for candidate in chain([name], (f"{name}-{number}" for number in count(2))):
        found = store.client.get_experiment_by_name(candidate)
        if found is None:
            return _make_experiment(store.client, candidate, location)
        if found.lifecycle_stage == "deleted":
            message = (
                f"the MLflow experiment {candidate!r} is deleted in {store.place}; "
                f"restore it (mlflow experiments restore -x {found.experiment_id}) or change register.name"
            )
            raise ProtoQuantError(message)
        if location is None or found.artifact_location == location or _is_remote(found.artifact_location):
            break
    return _of_kind(store.client, found)


def _of_kind(client: MlflowClient, experiment: Experiment) -> str:
    """The id of an experiment, which gets a kind if its owner has given it none."""
    for name, value in KIND.items():
        if name not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return str(experiment.experiment_id)


def _make_experiment(client: MlflowClient, name: str, location: str | None) -> str:
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
    except MlflowException as error:
        # Another process created it first, or the response to the first try was lost.
        if error.error_code not in ALREADY or not (found := client.get_experiment_by_name(name)):
            raise
        return str(found.experiment_id)


def _is_remote(location: str) -> bool:
    return "://" in location and not location.startswith("file:")


@contextmanager
def _opening(database: Path) -> Iterator[None]:
    """Let one process at a time open a database, and build a missing one aside, so that a kill leaves none half made.

    MLflow's own lock lets several processes create the tables of one database at once, and all but one of them fail.
    """
    folder = database.parent / ARTIFACTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock").acquire()
    except OSError:
        # The folder is read-only, so the process that made the database has made its tables.
        yield
        return
    with held:
        if not database.is_file() or not database.stat().st_size:
            aside = folder / f".{database.name}"
            aside.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{aside}")
            aside.replace(database)
        yield


def _check(database: Path, *, create: bool) -> None:
    """Check the database file first: MLflow would create a missing one, and retry a damaged one for minutes."""
    if not database.is_file():
        if create:
            return
        raise no_registry(database)
    with database.open("rb") as file:
        head = file.read(len(_SQLITE))
    if head not in (_SQLITE, b""):
        message = f"{database} is damaged: not a SQLite file; move it away and run register again"
        raise ProtoQuantError(message)


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        # The text of the cause names the URI, and a traceback must not show its password.
        raise _refusal(uri, error) from (error if without_password(uri) == uri else None)


def _refusal(uri: str, error: Exception) -> ProtoQuantError:
    if away := outage(error):
        return TrackingUnavailableError(uri, away)
    status = denied(error)
    if status == HTTPStatus.UNAUTHORIZED:
        return UnknownUserError(uri)
    reason = without_password(one_line(error))[:_LONGEST_REASON]
    advice = f"; ask for the permission, or set {' and '.join(USER_VARIABLES)} of a user who has it" if status else ""
    return ProtoQuantError(f"MLflow at {without_password(uri)} refused: {reason}{advice}")


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Let MLflow's own functions use a store; where the variable is set, they read it themselves."""
    if os.environ.get(URI_VARIABLE):
        yield
        return
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log messages of MLflow, its migrations and its retries, except errors."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
