"""Send the models that were kept while MLflow could not be reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.address import TrackingUnavailableError, UnknownUserError, is_http, place
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.register import RegisterResult, send
from protoquant.tracking.runs.pending import Pending, described, locked, opened, pending, remove, sending
from protoquant.tracking.runs.trained_model import with_variables


@dataclass(frozen=True)
class SyncResult:
    """The result of sending the snapshots.

    Attributes:
        sent: One result for each snapshot that is registered now.
        left: One sentence for each snapshot that could not be registered.
    """

    sent: tuple[RegisterResult, ...]
    left: tuple[str, ...]


def sync(workspace: Workspace, *, redirect: bool, on_event: OnEvent) -> SyncResult:
    """Register every kept model of the repository, the oldest first, and remove its snapshot.

    A snapshot is removed when its run, version and numbers are complete. If a call is killed before that, the next one
    finds by the bundle's digest what has been written, so each snapshot ends as one run and one version. An alias that
    has moved to another version since the snapshot was made stays.

    Args:
        workspace: Any workspace of the repository.
        redirect: Whether to send also models that were kept for another server than the present one.
        on_event: Receives a message that says what was done.

    Raises:
        TrackingUnavailableError: MLflow cannot be reached again; unsent snapshots are kept.
        UnknownUserError: MLflow does not let this user in; unsent snapshots are kept.
        UsageError: A model was kept for another server, and ``redirect`` is False.
    """
    sent: list[RegisterResult] = []
    left: list[str] = []
    with sending(workspace):
        snapshots = pending(workspace)
        if not redirect:
            _refuse_other_places(snapshots, workspace)
        for snapshot in snapshots:
            try:
                sent += _send(snapshot.path, workspace, on_event)
            except (TrackingUnavailableError, UnknownUserError):
                on_event(MessageEvent(_count(len(sent), len(snapshots) - len(sent)), "warning"))
                raise
            except ProtoQuantError as error:
                left.append(str(error))
    return SyncResult(tuple(sent), tuple(left))


def _send(path: Path, workspace: Workspace, on_event: OnEvent) -> list[RegisterResult]:
    with locked(workspace, path.parent.name):
        if not path.is_dir():
            # A call of register has sent it meanwhile.
            return []
        snapshot = described(path)
        if snapshot.damage:
            raise ProtoQuantError(f"{snapshot.damage}; remove {path}, then run register again where it was run")
        trained = opened(snapshot)
        trained.check()
        with with_variables(snapshot.variables), open_store(workspace, create=True) as store:
            result = send(store, trained, at=snapshot.at, on_event=on_event)
        remove(path)
        return [result]


def _refuse_other_places(snapshots: list[Pending], workspace: Workspace) -> None:
    """Refuse to send models to another store, as from a shell that has lost its variables."""
    here = place(workspace)
    if others := {each.place for each in snapshots if is_http(each.place) and each.place != here}:
        message = (
            f"models are kept for MLflow at {', '.join(sorted(others))}, and this would send them to {here}; "
            "set MLFLOW_TRACKING_URI, or say --redirect"
        )
        raise UsageError(message)


def _count(sent: int, left: int) -> str:
    return f"{sent} sent, {left} still kept"
