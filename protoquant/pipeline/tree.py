"""A git worktree that is as good as the clone it comes from: same DVC cache and remotes, same images, own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.git import GitError, git

TREE = "tree"
"""The part of a run's folder that holds its worktree, and beside it what lies beside the clone."""


def place(folder: Path, clone: Path) -> Path:
    """Where the worktree of a run lies.

    The path of the clone goes on below the folder of the run: a path that leaves the clone, such as ``../photos``,
    leaves the worktree to a place that is the run's own.
    """
    return folder / TREE / clone.resolve().relative_to("/")


def add(clone: Path, tree: Path, commit: str) -> None:
    """Make a worktree of a commit, with the clone's DVC configuration and cache.

    What the clone's configuration says, its local one included, is in force in the worktree too.
    """
    from dvc.config import Config

    _git(clone, "worktree", "prune")
    # Without hooks: one of DVC's would check out outputs that the cache may lack.
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
    """Take over values, those of a section one by one; plain paths, so that they are written as they are."""
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
