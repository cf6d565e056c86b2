"""Atomic writes: a file is written under a temporary name, forced to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Force the bytes of a file, or the entries of a folder, to disk.

    Raises:
        OSError: The path does not exist, or the disk is full or faulty.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_aside(path: Path, aside: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when complete: a reader sees the old file or the new one.

    Args:
        path: The file; an older one is replaced. The block sets its permissions.
        aside: The temporary name, on the same file system and used by no other writer; a file that a killed process
            left there is overwritten.

    Yields:
        ``aside``; it disappears if the block raises.

    Raises:
        OSError: The file cannot be forced to disk or renamed; the older one is unchanged.
    """
    try:
        yield aside
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
