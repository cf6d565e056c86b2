"""The folder that holds the parts of a table: the plan they belong to, and a lock so that only one run writes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from protoquant.core.artifacts import read_json, write_json
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.files import written_aside
from protoquant.data.folder_walk import writable

_PLAN = "plan.json"
_OWN = re.compile(r"plan\.(json|writing)|lock|\d{6}\.(parquet|writing)")
_DIFFERENCES = {
    "images": "the images are not the same",
    "bundle": "the model is another",
    "top": "the number of contributions is another",
    "part": "this version cuts parts of another size",
}


def digest_images(root: Path, names: Sequence[str]) -> str:
    """Digest the images by path, size and modification time; a missing image counts by its path."""
    digest = hashlib.sha256()
    for name in names:
        try:
            status = (root / name).stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{writable(name)}\0{state}\n".encode())
    return digest.hexdigest()


def open_plan(folder: Path, plan: Mapping[str, Any], on_event: OnEvent) -> None:
    """Keep the parts of an earlier run with the same plan; remove those of another plan, with a warning."""
    if strangers := sorted(path.name for path in folder.iterdir() if not _OWN.fullmatch(path.name)):
        raise UsageError(f"{folder} holds {strangers[0]!r}, which predict did not write; choose another --out")
    file = folder / _PLAN
    try:
        found = read_json(file) if file.exists() else None
    except ArtifactError:
        found = {}
    if found == plan:
        return
    if found is not None:
        on_event(MessageEvent(f"{folder} is of another run ({_why(found, plan)}); beginning anew", "warning"))
    for left in folder.glob("*.parquet"):
        left.unlink()
    with written_aside(file, folder / "plan.writing") as aside:
        write_json(aside, dict(plan))


def _why(found: Any, plan: Mapping[str, Any]) -> str:
    """Why the parts of an earlier run cannot be used for this one."""
    if not isinstance(found, dict) or set(found) != set(plan):
        return "its plan is damaged"
    return next(words for key, words in _DIFFERENCES.items() if found[key] != plan[key])


@contextmanager
def alone(folder: Path, out: Path) -> Iterator[None]:
    """Lock the folder of the parts, so that two runs do not write one file."""
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another run writes {out}; wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()
