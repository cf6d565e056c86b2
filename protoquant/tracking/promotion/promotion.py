"""Promote a version to champion if every gate lets it pass, or by force, with the reason recorded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from protoquant.core.errors import ProtoQuantError, UnavailableError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.mlflow_api import ModelVersion
from protoquant.tracking.connection.store import Store
from protoquant.tracking.connection.user import who
from protoquant.tracking.promotion.config import GatesConfig
from protoquant.tracking.promotion.evidence import CandidateVersion, compare, export_gate, gather
from protoquant.tracking.promotion.gates import Gate, GateVerdict, judge
from protoquant.tracking.promotion.lock_gate import lock_gate
from protoquant.tracking.promotion.registry_lock import Clock, promoting
from protoquant.tracking.registry.registry import find_named, point_alias
from protoquant.tracking.registry.versions import (
    ARCHIVED,
    ASKED,
    BEFORE,
    BY,
    CHAMPION,
    FORCED,
    GATES,
    ROLLED_BACK,
    VERDICT,
    Named,
    champion_of,
)

_ROUNDS = 5
_KEPT = 50
"""Number of earlier champions that are recorded on a version."""


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        name: Name of the registered model.
        version: The version to be promoted.
        before: The champion at that time; None where there was none.
        verdict: The verdict of the gates; None where the version was already champion.
        moved: Whether the version is champion now and was not before.
    """

    name: str
    version: int
    before: int | None
    verdict: GateVerdict | None
    moved: bool

    @property
    def refused(self) -> bool:
        """Whether a gate refused the promotion."""
        return self.verdict is not None and not self.moved


def promote(
    store: Store,
    named: Named,
    *,
    gates: GatesConfig,
    workspace: Workspace,
    root: Callable[[], Path],
    force: str | None = None,
    clock: Clock | None = None,
    on_event: OnEvent,
) -> Promotion:
    """Make a version champion if the gates let it pass; the verdict is stored on the version either way.

    The gates are asked first, and the lock is held only while the champion moves. If the champion has changed in the
    meantime, the gates are asked again with the new champion.

    Args:
        store: An open store.
        named: The version.
        gates: The limits of the gates.
        workspace: Its repository may hold the commit of the version, its ``artifacts/images`` the validation images.
        root: Returns the folder of the image files, ``prepare.root``.
        force: Why the version is to be champion whatever the gates say; None: the gates decide.
        clock: A clock for the lock; None for the system's.
        on_event: Receives progress, and messages that say what was done.

    Raises:
        UsageError: There is no such version, it is archived, its files are gone, or the reason is empty.
        ArtifactError: Its files are not those that were registered.
        UnavailableError: Another promotion does not end.
    """
    if force is not None and not force.strip():
        raise UsageError("to force a promotion, say why: --force --reason 'why'")
    version = named.find(store)
    name, number = str(version.name), int(version.version)
    if said := version.tags.get(ROLLED_BACK):
        on_event(MessageEvent(f"version {number} was rolled back from: {said}", "warning"))
    with tempfile.TemporaryDirectory(prefix="protoquant-") as folder:
        court = _Court(store, version, gates, workspace, root, Path(folder), on_event)
        for _ in range(_ROUNDS):
            held = champion_of(store, name)
            if held == number:
                on_event(MessageEvent(f"{name}@{CHAMPION} is version {number} already"))
                return Promotion(name, number, held, None, moved=False)
            _refuse_archived(version)
            verdict = court.judge(held).with_force(force)
            with promoting(store, name, clock) as lock:
                if champion_of(store, name) != held:
                    on_event(MessageEvent(f"{name}@{CHAMPION} has moved meanwhile; the gates are asked again"))
                    continue
                _refuse_archived(find_named(store, name, version=number))
                _keep(store, version, verdict)
                if not verdict.passed and verdict.forced is None:
                    return Promotion(name, number, held, verdict, moved=False)
                _remember(store, version, held, verdict)
                lock.check()
                point_alias(store.client, name, CHAMPION, number)
            before = f"; before it was version {held}" if held is not None else ""
            on_event(MessageEvent(f"{name}@{CHAMPION} is version {number}{before}"))
            return Promotion(name, number, held, verdict, moved=True)
    raise UnavailableError(f"the champion of {name} has moved {_ROUNDS} times meanwhile; try again when it rests")


@dataclass(frozen=True)
class _Court:
    """Asks the gates again whenever the champion changes, but fetches and exports the challenger only once."""

    store: Store
    version: ModelVersion
    gates: GatesConfig
    workspace: Workspace
    root: Callable[[], Path]
    folder: Path
    on_event: OnEvent

    def judge(self, champion: int | None) -> GateVerdict:
        """Judge the version against a champion, or without one."""
        challenger, lock, export = self._own
        rival = self._champion(champion)
        if not isinstance(rival, CandidateVersion):
            return judge(self.gates, challenger.evidence, rival, compared=None, lock=lock, export=export)
        alike = compare(rival, challenger, workspace=self.workspace, root=self.root, on_event=self.on_event)
        return judge(self.gates, challenger.evidence, rival.evidence, compared=alike, lock=lock, export=export)

    @cached_property
    def _own(self) -> tuple[CandidateVersion, Gate, Gate]:
        """The version with its files, and the gates that need no champion."""
        challenger = gather(self.store, self.version, self.folder)
        lock = lock_gate(self.version.tags, self.workspace, on=self.gates.lock)
        if self.gates.export:
            self.on_event(MessageEvent("the model is exported and compared with its export, which takes a while"))
        return challenger, lock, export_gate(challenger, on=self.gates.export)

    def _champion(self, number: int | None) -> CandidateVersion | str | None:
        """The champion with its files, or why it cannot be read."""
        if number is None:
            return None
        try:
            version = find_named(self.store, self.version.name, version=number)
            return gather(self.store, version, self.folder / "champion")
        except UnavailableError:
            raise
        except ProtoQuantError as error:
            return f"the champion, version {number}, cannot be compared with: {error}"


def earlier(version: ModelVersion) -> list[int]:
    """The champions that preceded a version, the latest first."""
    return [int(word) for word in version.tags.get(BEFORE, "").split() if word.isdigit()]


def _refuse_archived(version: ModelVersion) -> None:
    if since := version.tags.get(ARCHIVED):
        raise UsageError(
            f"version {version.version} of {version.name} is archived since {since}; to promote it, first: "
            f"protoquant registry archive {version.name} {version.version} --undo"
        )


def _keep(store: Store, version: ModelVersion, verdict: GateVerdict) -> None:
    """Write the verdict into tags of the version."""
    tags = {
        GATES: json.dumps(verdict.to_dict(), ensure_ascii=False),
        VERDICT: verdict.word,
        ASKED: datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    for tag, value in tags.items():
        store.client.set_model_version_tag(version.name, version.version, tag, value)


def _remember(store: Store, version: ModelVersion, held: int | None, verdict: GateVerdict) -> None:
    """Record, before the champion moves, who promotes the version, why by force, and which champions precede it."""
    line: list[int] = []
    if held is not None:
        line = [held, *earlier(find_named(store, version.name, version=held))][:_KEPT]
    tags = {BEFORE: " ".join(map(str, line)), BY: who(), FORCED: verdict.forced or "", ROLLED_BACK: ""}
    for tag, value in tags.items():
        store.client.set_model_version_tag(version.name, version.version, tag, value)
