"""The folders of isolated runs: which there are, and which go."""

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
    """The folder of a run that failed, was cancelled, or is on its way.

    Attributes:
        name: Of the run.
        folder: Where it lies.
        age: Seconds since it was last used.
        in_use: Whether a process works in it.
    """

    name: str
    folder: Path
    age: float
    in_use: bool


def kept_runs(clone: Path) -> list[KeptRun]:
    """The folders of runs, the longest unused first."""
    now = time.time()
    found = [
        KeptRun(folder.name, folder, max(0.0, now - last_used(folder)), in_use(folder)) for folder in _folders(clone)
    ]
    return sorted(found, key=lambda kept: (-kept.age, kept.name))


def prune_runs(clone: Path, *, max_age: float = KEEP_DAYS * 86_400, keep: int = KEEP_RUNS) -> list[KeptRun]:
    """Remove the folders of runs that nobody has used for long, then the longest unused beyond a number.

    Args:
        clone: Whose runs.
        max_age: Seconds since the last use.
        keep: Most folders that stay. One that is in use always stays.

    Returns:
        What was removed.
    """
    runs = kept_runs(clone)
    removed: list[KeptRun] = []
    for run in runs:
        too_many = len(runs) - len(removed) > keep
        if not run.in_use and (run.age > max_age or too_many) and _remove(clone, run):
            removed.append(run)
    return removed


def _remove(clone: Path, run: KeptRun) -> bool:
    # The lease again: a process may have taken it meanwhile.
    with suppress(UnavailableError), lease(run.folder, patience=0), trees(clone):
        tree.remove(clone, run.folder)
        return True
    return False


def _folders(clone: Path) -> Iterator[Path]:
    runs = Workspace(clone).runs
    if runs.is_dir():
        yield from (path for path in runs.iterdir() if path.is_dir())
