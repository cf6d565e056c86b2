"""Runs git commands for all packages; the caller decides what a failure means."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from protoquant.core.errors import UsageError, one_line

_NOT_OWNED = "dubious ownership"


class GitError(Exception):
    """A git command failed; the text is git's error output, with its line breaks."""


def git(folder: Path, *words: str, given: bytes | None = None) -> bytes:
    """Run a git command in a folder.

    Args:
        folder: A folder in a clone or worktree.
        words: The command and its arguments.
        given: Standard input for git; with None, git inherits that of this process.

    Returns:
        Git's standard output, as bytes, since its paths may have any encoding.

    Raises:
        GitError: The command failed, or the folder does not exist. UsageError: Git refuses the clone, since it belongs
        to another user: that is another thing than no clone. FileNotFoundError: Git is not installed.
        OSError: Git cannot be started. ValueError: An argument contains a NUL.
    """
    # Without optional locks, a query never gets in the way of the user's own git commands; LC_ALL: errors in English.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words], input=given, capture_output=True, check=False, env=environment
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if _NOT_OWNED in said:
            # Git's own text ends with the command that mends it.
            raise UsageError(f"git refuses the clone: {one_line(said)}")
        raise GitError(said)
    return done.stdout


def git_answer(folder: Path, *words: str) -> bytes | None:
    """The output of a git query; None if the query fails or git is not installed.

    Args:
        folder: A folder in a clone or worktree, or any other.
        words: The query; one that contains a NUL gives None too.

    Raises:
        UsageError: Git refuses the clone, since it belongs to another user.
    """
    try:
        return git(folder, *words)
    except (GitError, OSError, ValueError):
        return None
