"""Images and weights that git does not keep, linked into a run's worktree at the places where the clone has them."""

from __future__ import annotations

import os
from pathlib import Path

from protoquant.core.errors import UsageError
from protoquant.pipeline import tree
from protoquant.settings.settings import Settings

_WRITTEN = (".git", ".dvc", "artifacts", "dvc.lock")
"""What git, DVC and the stages write in a worktree: through a link they would write in the clone."""


def link_inputs(settings: Settings, *, clone: Path, folder: Path) -> None:
    """Make the files that a run's parameters name appear in its worktree; what git brought along stays as it is.

    An absolute path needs no link. The links themselves lie in the part of the run's folder that holds the worktree,
    wherever they lead.

    Args:
        settings: Of the run.
        clone: Where relative paths begin, and where the files are.
        folder: Of the run.

    Raises:
        UsageError: A link would lie elsewhere, or in place of the worktree or of what is written in it.
    """
    named = {"prepare.root": settings.prepare.root, "extract.weights_file": settings.extract.weights_file}
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
    """Link what is missing; returns False where that is not allowed."""
    area = Path(os.path.realpath(folder / tree.TREE))
    root = Path(os.path.realpath(tree.place(folder, clone)))
    wanted = Path(os.path.normpath(root / name))
    place = Path(os.path.realpath(wanted))  # elsewhere, where git has a symbolic link on the way
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
