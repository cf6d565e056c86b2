"""Open the MLflow store: the server of MLFLOW_TRACKING_URI, or a SQLite file in the workspace."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
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
from protoquant.tracking.connection.mlflow_api import MlflowClient, mlflow
from protoquant.tracking.connection.moved import FILES, follow_move
from protoquant.tracking.connection.outage import denied, is_foreign, outage

_log = logging.getLogger(__name__)
ALREADY = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
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
            yield Store(client, str(database), database.parent / FILES)
        else:
            yield Store(MlflowClient(), without_password(uri), None)


@contextmanager
def _opening(database: Path) -> Iterator[None]:
    """Let one process at a time open a database, and build a missing one aside, so that a kill leaves none half made.

    MLflow's own lock lets several processes create the tables of one database at once, and all but one of them fail.
    """
    folder = database.parent / FILES
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
        elif moved := follow_move(database, folder):
            _log.info("the project was moved: %s now lie in %s", f"{moved:,} addresses of {database.name}", folder)
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
