"""Resolves ``prepare.root``: a path below the workspace, or a folder in S3 and its local copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.events import OnEvent
from protoquant.core.workspace import Workspace
from protoquant.data.readers.registry import READERS
from protoquant.storage.location import Location, is_uri

if TYPE_CHECKING:
    from protoquant.data.config import PrepareConfig

_WHERE = "prepare.root (params.yaml)"


def image_root(
    prepare: PrepareConfig, workspace: Workspace, workers: int, on_event: OnEvent, *, renew: bool = False
) -> Path:
    """Find the images.

    Args:
        prepare: The ``prepare`` section.
        workspace: Base of relative paths; it also names the folder of local copies.
        workers: Threads of the machine.
        on_event: Receives the progress of downloads.
        renew: Whether to ask S3 for changes; otherwise a complete copy is used as it is.

    Raises:
        UsageError: The root is not a location in S3, there is no such bucket, or nothing in the folder.
        StorageError: S3 refused or does not answer.
    """
    if not is_uri(prepare.root):
        return workspace.root / prepare.root
    from protoquant.storage.mirror import local_copy, mirror

    bring = mirror if renew else local_copy
    return bring(_location(prepare), workspace.object_cache, workers=workers, on_event=on_event)


def folder_of(named: str, workspace: Workspace, workers: int, on_event: OnEvent) -> Path:
    """The folder that a command names; for a folder in S3, its checked and updated local copy.

    Args:
        named: A folder, relative to the current one, or s3://bucket/prefix.
        workspace: Names the folder of local copies.
        workers: Threads of the machine.
        on_event: Receives the progress of downloads.

    Raises:
        UsageError: There is no such bucket, or nothing in the folder. StorageError: S3 refused or does not answer.
    """
    if not is_uri(named):
        return Path(named)
    from protoquant.storage.mirror import mirror

    return mirror(Location.parse(named, "FOLDER"), workspace.object_cache, workers=workers, on_event=on_event)


@contextmanager
def named_by_uri(prepare: PrepareConfig, workspace: Workspace) -> Iterator[None]:
    """Make errors inside the block name the folder in S3 instead of its local copy."""
    try:
        yield
    except ProtoQuantError as error:
        if is_uri(prepare.root):
            copy = rf"{re.escape(str(workspace.object_cache))}/[^/\s]+/files"
            error.args = (re.sub(copy, lambda _: prepare.root.rstrip("/"), str(error)),)
        raise


def check_root(prepare: PrepareConfig, workspace: Workspace) -> None:
    """Check that the root exists and is of the kind that its reader needs; for S3 this takes one request.

    Raises:
        UsageError: The root does not exist, or is of the wrong kind.
        StorageError: S3 refused or does not answer.
    """
    if is_uri(prepare.root):
        from protoquant.storage.client import connect
        from protoquant.storage.listing import check_reachable

        check_reachable(connect(), _location(prepare))
        return
    root = workspace.root / prepare.root
    if not root.exists():
        raise UsageError(
            f"prepare.root: there is no {prepare.root} (params.yaml); correct the path, relative to this folder"
        )
    wanted = READERS[prepare.reader].root
    if wanted is not None and not (root.is_dir() if wanted == "a folder" else root.is_file()):
        raise UsageError(_unfit(prepare, wanted))
    if prepare.reader == "table" and root.is_dir():
        _check_tables(prepare, root)


def _check_tables(prepare: PrepareConfig, root: Path) -> None:
    from protoquant.data.config import TableConfig

    names = prepare.table or TableConfig()
    for key, name in (("file", names.file), ("parts", names.parts)):
        if name is not None and not (root / name).is_file():
            raise UsageError(f"prepare.table.{key}: there is no {name} in {prepare.root} (params.yaml); correct it")


def _location(prepare: PrepareConfig) -> Location:
    if (wanted := READERS[prepare.reader].root) == "the file of a spec":
        raise UsageError(_unfit(prepare, wanted))
    return Location.parse(prepare.root, _WHERE)


def _unfit(prepare: PrepareConfig, what: str) -> str:
    return (
        f"prepare.root must be {what} with reader {prepare.reader}, got {prepare.root} (params.yaml); "
        f"correct one of the two"
    )
