"""Reads files inside tar archives in place: nothing is unpacked, and no member's name becomes a path on disk.

``shards/a.tar/0001.jpg`` names the member ``0001.jpg`` of ``shards/a.tar``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from protoquant.core.errors import DataError

SUFFIX = ".tar"
_BLOCK = 512
_INDEXES = 256  # archives whose list of members a process keeps
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Member:
    """The position of a file in its archive, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Contents:
    """The contents of an archive.

    Attributes:
        files: Its files by name; the first one of each name.
        odd: Members that are not plain files or folders, and repeated names, each with what is wrong.
    """

    files: Mapping[str, Member]
    odd: tuple[tuple[str, str], ...]


def contents(archive: Path) -> Contents:
    """List an archive by its headers, once for each process.

    Raises:
        DataError: The file is not a plain tar archive, or ends early.
    """
    status = archive.stat()
    with _lock:  # threads that ask for the same archive wait for one list
        return _contents(archive, status.st_mtime_ns, status.st_size)


def read_member(path: Path) -> bytes | None:
    """Read a file inside an archive.

    Args:
        path: Path of the archive, followed by the member's name.

    Returns:
        Its bytes; None if the path does not lead into an archive, or the archive has no such file.

    Raises:
        DataError: The archive is damaged.
    """
    archive = next((parent for parent in path.parents if parent.suffix == SUFFIX and parent.is_file()), None)
    if archive is None:
        return None
    member = contents(archive).files.get(path.relative_to(archive).as_posix())
    if member is None:
        return None
    with archive.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


@lru_cache(maxsize=_INDEXES)
def _contents(archive: Path, modified: int, size: int) -> Contents:  # noqa: ARG001 - a changed archive misses the cache
    files: dict[str, Member] = {}
    odd: list[tuple[str, str]] = []
    after = 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for info in tar:
                after = info.offset_data + -(-info.size // _BLOCK) * _BLOCK if info.isreg() else info.offset_data
                if info.isdir():
                    continue
                if info.issparse() or not info.isreg():
                    odd.append((info.name, "is a link or a device in its archive, not a file; pack the file itself"))
                elif info.name in files:
                    odd.append((info.name, "stands in its archive more than once; pack it once"))
                else:
                    files[info.name] = Member(info.offset_data, info.size)
    except tarfile.TarError as error:
        raise DataError(f"{archive} cannot be read as a plain tar archive ({error}); pack it again") from error
    if size < after + _BLOCK:
        raise DataError(f"{archive} ends early, after {len(files)} files ({size:,} bytes); copy it again")
    return Contents(files, tuple(odd))
