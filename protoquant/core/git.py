"""Git, asked in one way; whoever asks says what a refusal means."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class GitError(Exception):
    """Git refused; the text is what it said, on as many lines as it said it."""


def git(folder: Path, *words: str, given: bytes | None = None) -> bytes:
    """Run a git command in a folder.

    Args:
        folder: In a clone or worktree.
        words: The command and its arguments.
        given: What git reads from its standard input; None leaves it that of this process.

    Returns:
        What git wrote to its standard output; its paths may be of any encoding, so it is bytes.

    Raises:
        GitError: Git refused, or the folder is not there. FileNotFoundError: There is no git on this machine.
        OSError: It cannot be started. ValueError: A word holds a NUL.
    """
    # Without the optional locks, a question never disturbs a git command of the user.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words], input=given, capture_output=True, check=False, env=environment
    )
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace"))
    return done.stdout


def git_answer(folder: Path, *words: str) -> bytes | None:
    """What git answers to a question; None where it has no answer, or is not there.

    Args:
        folder: In a clone or worktree, or anywhere else.
        words: The question; None is also the answer to one that holds a NUL.
    """
    try:
        return git(folder, *words)
    except (GitError, OSError, ValueError):
        return None
