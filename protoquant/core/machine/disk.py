"""Checks and reserves disk space before work that could fill the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from protoquant.core.errors import ProtoQuantError

RESERVE = 1 << 30
"""Bytes of a disk that are kept free."""


def gigabytes(size: float) -> str:
    """Format a number of bytes in decimal units, as disks are sold."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}" if size < 10 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size / 1e3:.0f} kB"


def free_bytes(folder: Path) -> int:
    """Free bytes on the file system of a folder that need not exist yet."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def check_room(folder: Path, needed: int, what: str, help_: str) -> None:
    """Refuse work that would fill a disk.

    Args:
        folder: The folder that the work writes to.
        needed: Bytes that it writes; 0 always passes.
        what: Name of the data, for the error.
        help_: Advice, for the error.

    Raises:
        ProtoQuantError: The bytes do not fit.
    """
    free = free_bytes(folder)
    if needed and needed + RESERVE > free:
        raise ProtoQuantError(
            f"{what} need {gigabytes(needed)} of disk at {folder}, {gigabytes(free)} are free and "
            f"{gigabytes(RESERVE)} stay so; {help_}"
        )


def reserve(file: Path, size: int) -> None:
    """Make a file of a size with all its blocks allocated: on a full disk, filling a sparse one kills the process.

    Raises:
        OSError: The disk is full.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, max(size, 1))
        else:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
