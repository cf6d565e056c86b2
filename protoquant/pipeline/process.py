"""A command as a process whose lines are heard while it runs, and which never outlives this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from protoquant.pipeline import guard

OnLine = Callable[[str], None]


def run(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], on_line: OnLine, hold: Sequence[int] = ()
) -> int:
    """Run a command under the guard and pass on what it prints.

    An exception in here (also one that a signal raises) ends the command with all its children before it goes on.

    Args:
        command: Its words.
        cwd: Folder that it runs in.
        environment: All of its environment.
        on_line: Hears each line of standard output and error, without its end.
        hold: Open files that the guard keeps open as long as the command lives.

    Returns:
        The exit code; 128 + N where signal N ended it.
    """
    words = [sys.executable, "-P", guard.__file__, *command]
    guarded = subprocess.Popen(
        words,
        cwd=cwd,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a signal to the group of this process is not one to the command
        pass_fds=hold,
    )
    if guarded.stdin is None or guarded.stdout is None:
        raise AssertionError
    try:
        for line in guarded.stdout:
            on_line(line.rstrip("\n"))
    finally:
        guarded.stdin.close()
        with guarded.stdout as rest:
            rest.read()  # or the command would meet a closed pipe where it says farewell
        code = guarded.wait()
    return code
