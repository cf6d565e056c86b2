"""Leases a run's workspace: a lock that lasts exactly as long as the processes that hold it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protoquant.core.errors import UnavailableError

_LEASE = "lease"
_PATIENCE = 15.0  # seconds; a stage that was told to end takes less
_POLL = 0.1


@contextmanager
def lease(folder: Path, patience: float = _PATIENCE) -> Iterator[int]:
    """Hold the lease of a run's folder.

    The lock belongs to the open file: a child that inherits it holds it too, and the system frees it when all holders
    are gone, however they died.

    Args:
        folder: Folder of the run; created if missing.
        patience: Seconds to wait for a lease that is held.

    Yields:
        The descriptor of the open file, for :func:`protoquant.pipeline.process.run`.

    Raises:
        UnavailableError: Another process still holds the lease after that time.
    """
    until = time.monotonic() + patience
    while (descriptor := _take(folder)) is None:
        if time.monotonic() >= until:
            raise UnavailableError(f"the run in {folder} is in use by another process; try again when it has ended")
        time.sleep(_POLL)
    try:
        yield descriptor
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def _take(folder: Path) -> int | None:
    """Open and lock the file; None if another process holds it or has just removed it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LEASE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if _locked(descriptor) and _is(descriptor, path):
        os.utime(descriptor)
        return descriptor
    os.close(descriptor)
    return None


def in_use(folder: Path) -> bool:
    """Return whether a process holds the lease of a run's folder."""
    try:
        descriptor = os.open(folder / _LEASE, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def last_used(folder: Path) -> float:
    """Return when a run's folder was last taken or left, in seconds since the epoch."""
    lock = folder / _LEASE
    return (lock if lock.exists() else folder).stat().st_mtime


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
