"""Finds the commit that a run uses, and the uncommitted edits that it takes along when told to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from protoquant.core.errors import ProtoQuantError, UsageError, one_line
from protoquant.core.git import GitError, git

Choice = Literal["refuse", "take", "leave"]
_NAMED = 3
_WRITTEN_BY_DVC = (":(top)", ":(top,exclude)dvc.lock", ":(top,exclude)artifacts/metrics.json")
"""Pathspecs without the files that every ``dvc repro`` rewrites: their changes are not a user's edits."""


def commit(clone: Path, revision: str) -> str:
    """Find the commit that a branch, tag or hash names.

    Raises:
        UsageError: No commit has that name.
    """
    found = b""
    if "\0" not in revision:
        with suppress(GitError):
            found = git(clone, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found.strip().isalnum():  # for ^HEAD, git prints ^ and a hash
        raise UsageError(f"revision: {revision!r} names no commit of {clone}; give a branch, a tag or a commit")
    return found.decode().strip()


def edits(clone: Path, base: str, choice: Choice) -> bytes:
    """Return the patch that gives a run the uncommitted edits of the clone's tracked files.

    New files count once they are added with ``git add``. Files that DVC itself writes, such as dvc.lock, do not count.

    Args:
        clone: A git work tree.
        base: The commit to run.
        choice: ``refuse`` edits, ``take`` them along, or ``leave`` them where they are.

    Returns:
        The patch; empty if there are no edits.

    Raises:
        UsageError: There are edits and the choice is ``refuse``, or they belong to another commit than ``base``.
    """
    if choice == "leave":
        return b""
    names = _git(clone, "diff", "HEAD", "--name-only", "--", *_WRITTEN_BY_DVC).decode().splitlines()
    if not names:
        return b""
    if choice == "refuse":
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise UsageError(
            f"{', '.join(names[:_NAMED])}{more} in {clone} differ from the commit; "
            "commit them, or choose uncommitted: take (run with them) or leave (run without)"
        )
    if base != commit(clone, "HEAD"):
        raise UsageError("uncommitted: take works with revision HEAD, whose edits they are; choose leave, or that one")
    return _git(clone, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--", *_WRITTEN_BY_DVC)


def apply_edits(tree: Path, patch: bytes) -> None:
    """Apply a patch from :func:`edits` to a fresh work tree of the same commit."""
    if patch:
        _git(tree, "apply", "--whitespace=nowarn", "-", given=patch)


def _git(tree: Path, *words: str, given: bytes | None = None) -> bytes:
    try:
        return git(tree, *words, given=given)
    except GitError as error:
        raise ProtoQuantError(f"git {words[0]} failed in {tree}: {one_line(error)}") from error
