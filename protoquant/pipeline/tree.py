"""Makes a git worktree that works like its clone: same DVC cache and remotes, same images, but its own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.git import GitError, git

TREE = "tree"
"""The part of a run's folder that holds its worktree and, beside it, links to files beside the clone."""


def place(folder: Path, clone: Path) -> Path:
    """Return the root of a run's worktree.

    The clone's absolute path is repeated below the run's folder, so that a relative path out of the clone, such as
    ``../photos``, leads from the worktree to a place that still belongs to the run.
    """
    return folder / TREE / clone.resolve().relative_to("/")


def add(clone: Path, tree: Path, commit: str) -> None:
    """Make a worktree of a commit, with the clone's DVC configuration and cache.

    The clone's configuration, including its local file, also applies in the worktree.
    """
    from dvc.config import Config

    _git(clone, "worktree", "prune")
    # Hooks are off: one of DVC's would check out outputs that the cache may lack.
    _git(
        clone, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--force", "--detach", "--quiet", str(tree), commit
    )
    of_clone = Config(str(clone / ".dvc"))
    cache = of_clone.get("cache", {}).get("dir") or str(clone / ".dvc" / "cache")
    theirs = [of_clone.load_one(level) for level in ("repo", "local")]
    with Config(str(tree / ".dvc")).edit("local") as local:
        for values in theirs:
            _merge(local, values)
        local["cache"]["dir"] = str(cache)
    (tree / ".dvc" / "config.local").chmod(0o600)  # may hold a remote's keys


def remove(clone: Path, tree: Path) -> None:
    """Remove a worktree, whatever state it is in."""
    shutil.rmtree(tree, ignore_errors=True)
    _git(clone, "worktree", "prune")


def _merge(into: dict[str, object], values: dict[str, object]) -> None:
    """Copy values, section by section; DVC's path strings become plain strings, so that they are written unchanged."""
    for key, value in values.items():
        if isinstance(value, dict):
            section = into.setdefault(key, {})
            if isinstance(section, dict):
                _merge(section, value)
        else:
            into[key] = str(value) if isinstance(value, str) else value


def _git(clone: Path, *words: str) -> None:
    try:
        git(clone, *words)
    except GitError as error:
        raise ProtoQuantError(f"git {' '.join(words[:2])} failed in {clone}: {one_line(error)}") from error
