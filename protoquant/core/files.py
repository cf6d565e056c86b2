"""Files that are whole or not there: written aside, forced to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Force the bytes of a file, or the entries of a folder, to disk.

    Raises:
        OSError: It is not there, or the disk is full or broken.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_aside(path: Path, aside: Path) -> Iterator[Path]:
    """Write a file under another name and give it its own when it is whole: a reader sees the old file or the new one.

    Args:
        path: The file; an older one is replaced. Its permissions are those that the block gives.
        aside: Its name meanwhile, on the same file system, and no other writer's; what a kill left there is
            overwritten.

    Yields:
        ``aside``; it disappears if the block raises.

    Raises:
        OSError: The file cannot be forced to disk or renamed; the older one is as it was.
    """
    try:
        yield aside
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
