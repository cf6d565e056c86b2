"""Reads files inside tar archives in place: nothing is unpacked, and no member's name becomes a path on disk.

``shards/a.tar/0001.jpg`` names the member ``0001.jpg`` of ``shards/a.tar``. An archive may lie in another one:
``all.tar/a.tar/0001.jpg`` is a member of ``a.tar``, which is a member of ``all.tar``.
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
    """The position of a file in the outermost archive, in bytes."""

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

    Args:
        archive: Path of the archive, which may lead into other archives.

    Raises:
        DataError: The file is not a plain tar archive, or ends early.
        FileNotFoundError: There is no such archive.
    """
    outer = _outermost(archive)
    if outer is None:
        raise FileNotFoundError(f"no archive at {archive}")
    whole = Member(0, outer.stat().st_size)
    place = whole if outer == archive else _find(outer, outer, whole, archive.relative_to(outer).as_posix())
    if place is None:
        raise FileNotFoundError(f"no archive at {archive}")
    return _listed(outer, archive, place)


def read_member(path: Path) -> bytes | None:
    """Read a file inside an archive.

    Args:
        path: Path of the archive, followed by the member's name; the member may be one of an archive in the archive.

    Returns:
        Its bytes; None if the path does not lead into an archive, or the archive has no such file.

    Raises:
        DataError: The archive is damaged.
    """
    outer = next((parent for parent in path.parents if parent.suffix == SUFFIX and parent.is_file()), None)
    if outer is None:
        return None
    member = _find(outer, outer, Member(0, outer.stat().st_size), path.relative_to(outer).as_posix())
    if member is None:
        return None
    with outer.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def _outermost(archive: Path) -> Path | None:
    """The file on disk which a path of an archive is or leads into."""
    return next((one for one in (archive, *archive.parents) if one.suffix == SUFFIX and one.is_file()), None)


def _find(outer: Path, archive: Path, place: Member, name: str) -> Member | None:
    """The position of a member by its name, or by the names of the archives around it; None if there is none."""
    files = _listed(outer, archive, place).files
    if name in files:
        return files[name]
    parts = name.split("/")
    for depth in range(1, len(parts)):
        head = "/".join(parts[:depth])
        if head.endswith(SUFFIX) and head in files:
            return _find(outer, archive / head, files[head], "/".join(parts[depth:]))
    return None


def _listed(outer: Path, archive: Path, place: Member) -> Contents:
    modified = outer.stat().st_mtime_ns
    with _lock:  # threads that ask for the same archive wait for one list
        return _contents(outer, archive, place, modified)


@lru_cache(maxsize=_INDEXES)
def _contents(outer: Path, archive: Path, place: Member, modified: int) -> Contents:  # noqa: ARG001 - a changed file misses it
    try:
        with outer.open("rb") as file:
            file.seek(place.offset)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                held, after = _headers(tar, place.offset)
                file.seek(tar.offset)  # where tarfile stops: at a block of zeros, or at a header that it cannot read
                damaged = any(file.read(_BLOCK))
    except tarfile.TarError as error:
        raise DataError(f"{archive} cannot be read as a plain tar archive ({error}); pack it again") from error
    count = len(held.files)
    if place.offset + place.size < after + _BLOCK:
        raise DataError(f"{archive} ends early, after {count} files ({place.size:,} bytes); copy it again")
    if damaged:
        found = f"bad header after {count} file{'s' * (count != 1)}"
        raise DataError(f"{archive} cannot be read as a plain tar archive ({found}); pack it again")
    return held


def _headers(tar: tarfile.TarFile, after: int) -> tuple[Contents, int]:
    """The contents, and the position behind the last of them, which for an empty archive is that given."""
    files: dict[str, Member] = {}
    odd: list[tuple[str, str]] = []
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
    return Contents(files, tuple(odd)), after
