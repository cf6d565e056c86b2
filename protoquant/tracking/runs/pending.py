"""Keep models while MLflow cannot be reached: a snapshot of each, from which ``register`` can run later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from protoquant.core.artifacts import MANIFEST, artifact_digest, open_artifact, read_json, writing
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.data.table import SUMMARY
from protoquant.tracking.connection.address import place
from protoquant.tracking.runs.lineage import Lineage
from protoquant.tracking.runs.trained_model import TrainedModel, own_variables

KIND = "pending"
_LOCKS, _SENT, _WEIGHTS = ".locks", ".sent", "weights"


@dataclass(frozen=True)
class Pending:
    """A snapshot that waits to be sent, as its manifest describes it.

    Attributes:
        path: Its folder, ``pending/<bundle digest>/<name of the model>``.
        bundle: Digest of the bundle.
        name: Name of the registered model.
        at: When it was made.
        place: The MLflow it was meant for, without password.
        variables: MLflow's own variables at that time.
        damage: Why it cannot be read; None where it can.
    """

    path: Path
    bundle: str
    name: str
    at: datetime
    place: str
    variables: Mapping[str, str]
    damage: str | None = None


def keep(trained: TrainedModel) -> Path:
    """Write a snapshot of all that would have been logged; an older one of the same model is replaced.

    Unlike an artifact, a snapshot records its time and the store it is meant for.

    Raises:
        ArtifactError: Something that belongs to the model is missing.
    """
    workspace = trained.workspace
    out = workspace.pending / trained.digest / trained.name
    weights = trained.weights_file()
    said: dict[str, Any] = {
        "alias": trained.alias,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "lineage": vars(trained.origin),
        "params": dict(trained.params),
        "place": place(workspace),
        "variables": own_variables(),
        "weights": weights.name if weights else None,
    }
    with writing(out, KIND, {"bundle": trained.digest}, **said) as folder:
        there = Workspace(folder)
        for source, target in (
            (workspace.codebook, there.codebook),
            (workspace.bundle, there.bundle),
            (workspace.evaluation, there.evaluation),
            (workspace.report, there.report),
        ):
            shutil.copytree(source, target, copy_function=_link)
        there.images.mkdir(parents=True)
        for name in (MANIFEST, SUMMARY):
            _link(workspace.images / name, there.images / name)
        for file in (workspace.params, workspace.lock, workspace.metrics):
            # These three are edited in place, and a hard link would change with them.
            if file.is_file():
                shutil.copyfile(file, folder / file.relative_to(workspace.root))
        if weights:
            (folder / _WEIGHTS).mkdir()
            _link(weights, folder / _WEIGHTS / weights.name)
    return out


def pending(workspace: Workspace) -> list[Pending]:
    """List the snapshots of the repository: damaged ones first, then the oldest first."""
    found = [described(path.parent) for path in workspace.pending.glob(f"[!.]*/[!.]*/{MANIFEST}")]
    return sorted(found, key=lambda each: (each.at, each.path))


def described(path: Path) -> Pending:
    """Read the manifest of a snapshot, or say why it cannot be read."""
    try:
        extra = read_json(path / MANIFEST)["extra"]
        at = datetime.fromisoformat(extra["at"])
        return Pending(path, path.parent.name, path.name, at, extra["place"], extra["variables"])
    except (ArtifactError, KeyError, TypeError, ValueError):
        damage = f"{path / MANIFEST} is damaged: it is not what register wrote"
        return Pending(path, path.parent.name, path.name, datetime.min.replace(tzinfo=UTC), "", {}, damage)


def is_pending(workspace: Workspace) -> bool:
    """Tell whether the model of a workspace waits to be sent."""
    if not (workspace.bundle / MANIFEST).is_file():
        return False
    return any((workspace.pending / artifact_digest(workspace.bundle)).glob(f"[!.]*/{MANIFEST}"))


def opened(snapshot: Pending) -> TrainedModel:
    """Read a snapshot and check every byte of it.

    Raises:
        ArtifactError: It is damaged.
    """
    extra = open_artifact(snapshot.path, KIND).extra
    weights = snapshot.path / _WEIGHTS / extra["weights"] if extra["weights"] else None
    origin = Lineage(**extra["lineage"])
    return TrainedModel(Workspace(snapshot.path), snapshot.name, extra["alias"], extra["params"], origin, weights)


def remove(path: Path) -> None:
    """Remove a snapshot that was sent; a kill meanwhile leaves nothing that looks like a snapshot."""
    gone = path.with_name(f"{_SENT}-{path.name}")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone)
    with suppress(OSError):
        path.parent.rmdir()


@contextmanager
def locked(workspace: Workspace, bundle_digest: str) -> Iterator[None]:
    """Let one process of the repository at a time register a bundle."""
    # Sixteen locks serve all bundles, so that their files do not pile up.
    with _lock(workspace, bundle_digest[0]):
        yield


@contextmanager
def sending(workspace: Workspace) -> Iterator[None]:
    """Let one process of the repository at a time send snapshots; first clean up after processes that were killed."""
    with _lock(workspace, "sync"):
        for folder in {left.parent for left in workspace.pending.glob("[!.]*/.*")}:
            # A process that makes or removes a snapshot holds this lock.
            with locked(workspace, folder.name):
                for left in folder.glob(".*"):
                    shutil.rmtree(left, ignore_errors=True)
                with suppress(OSError):
                    folder.rmdir()
        yield


def _lock(workspace: Workspace, name: str) -> FileLock:
    folder = workspace.pending / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name)


def _link(source: str | Path, target: str | Path) -> None:
    """Hard-link a file that is never edited in place, or copy it where linking fails."""
    real = Path(source).resolve()
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
