"""Roll back to an earlier champion, and archive versions; nothing is deleted."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from protoquant.core.errors import ProtoQuantError, UnavailableError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.tracking.connection.mlflow_api import ModelVersion
from protoquant.tracking.connection.store import Store
from protoquant.tracking.connection.user import who
from protoquant.tracking.promotion.evidence import gather
from protoquant.tracking.promotion.promotion import earlier
from protoquant.tracking.promotion.registry_lock import Clock, promoting
from protoquant.tracking.registry.registry import find_named, point_alias, versions_of
from protoquant.tracking.registry.versions import (
    ARCHIVED,
    BEFORE,
    BY,
    CHAMPION,
    ROLLED_BACK,
    aliases_of,
    champion_of,
)


@dataclass(frozen=True)
class Rollback:
    """The result of a rollback.

    Attributes:
        name: Name of the registered model.
        left: The version that was champion.
        version: The version that is champion now.
    """

    name: str
    left: int
    version: int


def roll_back(
    store: Store,
    name: str,
    *,
    to: int | None = None,
    reason: str | None = None,
    clock: Clock | None = None,
    on_event: OnEvent,
) -> Rollback:
    """Give the alias champion back to a version that had it before, without asking the gates.

    Args:
        store: An open store.
        name: Name of the registered model.
        to: An earlier champion; None for the last one before the present champion.
        reason: The reason, recorded on the version that was champion.
        clock: A clock for the lock; None for the system's.
        on_event: Receives a message that says what was done.

    Raises:
        UsageError: There is no champion, or no earlier one, or the earlier one is archived or gone.
        ArtifactError: The files of the earlier champion are damaged.
        UnavailableError: A promotion is under way and does not end, or the champion has moved meanwhile.
    """
    versions_of(store, name)
    left, line = _line(store, name)
    target, rest = _target(name, left, line, to)
    _whole(store, name, target, rest)
    with promoting(store, name, clock) as lock:
        if champion_of(store, name) != left:
            raise UnavailableError(f"{name}@{CHAMPION} has moved meanwhile from version {left}; look, then call again")
        version = find_named(store, name, version=target)
        _refuse_archived(version, rest)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _tag(store, name, target, {BEFORE: " ".join(map(str, rest)), BY: who(), ROLLED_BACK: ""})
        lock.check()
        point_alias(store.client, name, CHAMPION, target)
        _tag(store, name, left, {ROLLED_BACK: f"{now} by {who()}{f': {reason}' if reason else ''}"})
    shown = version.tags.get("validation_accuracy", "unknown")
    on_event(
        MessageEvent(
            f"{name}@{CHAMPION} is version {target} again (validation accuracy {shown}); it was version {left}"
        )
    )
    return Rollback(name, left, target)


def archive(store: Store, name: str, number: int, *, undo: bool = False, clock: Clock | None = None) -> str:
    """Archive a version, or undo that; an archived version keeps its files but cannot become champion.

    Args:
        store: An open store.
        name: Name of the registered model.
        number: The version.
        undo: Whether to undo the archiving.
        clock: A clock for the lock; None for the system's.

    Returns:
        A sentence that says what was done.

    Raises:
        UsageError: There is no such version, or an alias points to it.
    """
    find_named(store, name, version=number)
    with promoting(store, name, clock):
        since = find_named(store, name, version=number).tags.get(ARCHIVED)
        if undo:
            if not since:
                return f"version {number} of {name} is not archived"
            store.client.delete_model_version_tag(name, str(number), ARCHIVED)
            return f"version {number} of {name} is no longer archived"
        if since:
            return f"version {number} of {name} is archived already, since {since}"
        if held := aliases_of(store, name, number):
            raise UsageError(
                f"version {number} of {name} is {' and '.join(f'@{alias}' for alias in held)}; "
                "an alias must point elsewhere before its version is archived"
            )
        _tag(store, name, number, {ARCHIVED: datetime.now(UTC).isoformat(timespec="seconds")})
        return f"version {number} of {name} is archived; its files stay"


def _line(store: Store, name: str) -> tuple[int, list[int]]:
    """The champion, and the champions before it."""
    left = champion_of(store, name)
    if left is None:
        raise UsageError(f"{name} has no champion to roll back; protoquant registry promote {name} makes one")
    return left, earlier(find_named(store, name, version=left))


def _target(name: str, left: int, line: list[int], to: int | None) -> tuple[int, list[int]]:
    """The version that becomes champion again, and the champions before that."""
    if not line:
        raise UsageError(f"nothing to roll back to: no champion of {name} before version {left} is known")
    if to is None:
        return line[0], line[1:]
    if to == left:
        raise UsageError(f"version {to} of {name} is champion already")
    if to not in line:
        known = ", ".join(map(str, dict.fromkeys(line)))
        raise UsageError(f"version {to} of {name} was not champion before version {left}; those before: {known}")
    place = line.index(to)
    return to, line[place + 1 :]


def _whole(store: Store, name: str, number: int, others: list[int]) -> None:
    """Check that a version may be champion: neither archived nor gone nor damaged."""
    version = find_named(store, name, version=number)
    _refuse_archived(version, others)
    try:
        with tempfile.TemporaryDirectory(prefix="protoquant-") as folder:
            gather(store, version, Path(folder))
    except ProtoQuantError as error:
        error.args = (f"{error}{_advice(name, others)}",)
        raise


def _refuse_archived(version: ModelVersion, others: list[int]) -> None:
    if since := version.tags.get(ARCHIVED):
        name, number = version.name, version.version
        undo = f"protoquant registry archive {name} {number} --undo takes it back"
        raise UsageError(
            f"the champion before, version {number} of {name}, is archived since {since}; {undo}{_advice(name, others)}"
        )


def _advice(name: str, others: list[int]) -> str:
    return f"; an earlier champion: protoquant registry rollback {name} --to {others[0]}" if others else ""


def _tag(store: Store, name: str, number: int, tags: dict[str, str]) -> None:
    for tag, value in tags.items():
        store.client.set_model_version_tag(name, str(number), tag, value)
