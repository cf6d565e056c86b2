"""Links images and other files that git does not keep into a run's worktree, at the same paths as in the clone."""

from __future__ import annotations

import os
from pathlib import Path

from protoquant.core.errors import UsageError
from protoquant.pipeline import tree
from protoquant.settings.settings import Settings

_WRITTEN = (".git", ".dvc", "artifacts", "dvc.lock")
"""Paths that git, DVC and the stages write in a worktree; through a link they would write to the clone."""


def link_inputs(settings: Settings, *, clone: Path, folder: Path) -> None:
    """Link the files that a run's parameters name into its worktree; files from git stay as they are.

    An absolute path needs no link. The links themselves lie in the part of the run's folder that holds the worktree,
    wherever they point.

    Args:
        settings: Settings of the run.
        clone: The clone, where relative paths start and the files are.
        folder: Folder of the run.

    Raises:
        UsageError: A link would lie outside that part, or replace the worktree or a path that is written in it.
    """
    named = {
        "prepare.root": settings.prepare.root,
        "prepare.exclude": settings.prepare.exclude,
        "extract.weights_file": settings.extract.weights_file,
    }
    for key, name in named.items():
        if not name or "://" in name or Path(name).is_absolute():
            continue
        try:
            allowed = _link(name, clone, folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{key}: {name[:80]!r} cannot be linked into the run ({reason}); correct it") from error
        if not allowed:
            raise UsageError(
                f"{key}: a run cannot link {name!r}; name something in the clone, but not in {', '.join(_WRITTEN)}, "
                f"or beside the clone, such as ../my-photos, or give the absolute path"
            )


def _link(name: str, clone: Path, folder: Path) -> bool:
    """Link the missing files at a path; return False if that is not allowed."""
    area = Path(os.path.realpath(folder / tree.TREE))
    root = Path(os.path.realpath(tree.place(folder, clone)))
    wanted = Path(os.path.normpath(root / name))
    place = Path(os.path.realpath(wanted))  # another path if git has a symbolic link on the way
    if not _is_free(wanted, root, area):
        return False
    if not _is_free(place, root, area):
        return wanted.exists()  # git's link leads to it, so nothing is missing
    _link_missing(clone / name, place)
    return True


def _is_free(place: Path, root: Path, area: Path) -> bool:
    if not place.is_relative_to(area) or root.is_relative_to(place):
        return False
    return not place.is_relative_to(root) or place.relative_to(root).parts[0] not in _WRITTEN


def _link_missing(source: Path, target: Path) -> None:
    if not source.exists():
        return
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve())
    elif source.is_dir() and target.is_dir() and not target.is_symlink():
        for inner in source.iterdir():
            _link_missing(inner, target / inner.name)
