"""Lists the folders of isolated runs and removes old ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protoquant.core.errors import UnavailableError
from protoquant.core.workspace import Workspace
from protoquant.pipeline import tree
from protoquant.pipeline.isolated_run import trees
from protoquant.pipeline.lease import in_use, last_used, lease

KEEP_DAYS = 7.0
KEEP_RUNS = 20


@dataclass(frozen=True)
class KeptRun:
    """The folder of a run that failed, was cancelled, or is still running.

    Attributes:
        name: Name of the run.
        folder: Its path.
        age: Seconds since it was last used.
        in_use: Whether a process works in it.
    """

    name: str
    folder: Path
    age: float
    in_use: bool


def kept_runs(clone: Path) -> list[KeptRun]:
    """Return the folders of runs, the longest unused first."""
    now = time.time()
    found = [
        KeptRun(folder.name, folder, max(0.0, now - last_used(folder)), in_use(folder)) for folder in _folders(clone)
    ]
    return sorted(found, key=lambda kept: (-kept.age, kept.name))


def prune_runs(clone: Path, *, max_age: float = KEEP_DAYS * 86_400, keep: int = KEEP_RUNS) -> list[KeptRun]:
    """Remove the folders of runs that have long been unused, then the longest unused beyond a number.

    Args:
        clone: The clone that the runs belong to.
        max_age: Seconds since the last use.
        keep: Number of folders that may stay. A folder in use always stays.

    Returns:
        The removed folders.
    """
    runs = kept_runs(clone)
    removed: list[KeptRun] = []
    for run in runs:
        too_many = len(runs) - len(removed) > keep
        if not run.in_use and (run.age > max_age or too_many) and _remove(clone, run):
            removed.append(run)
    return removed


def _remove(clone: Path, run: KeptRun) -> bool:
    # Take the lease: a process may have taken it since the list was made.
    with suppress(UnavailableError), lease(run.folder, patience=0), trees(clone):
        tree.remove(clone, run.folder)
        return True
    return False


def _folders(clone: Path) -> Iterator[Path]:
    runs = Workspace(clone).runs
    if runs.is_dir():
        yield from (path for path in runs.iterdir() if path.is_dir())
