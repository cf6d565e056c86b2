"""Runs a command as a process that passes its lines on while it runs and never outlives this process."""

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

    An exception in this function, even one raised by a signal handler, propagates only after the command and all its
    children have ended.

    Args:
        command: Words of the command.
        cwd: Folder to run it in.
        environment: Its complete environment.
        on_line: Receives each line of standard output and standard error, without the newline.
        hold: Descriptors of files that the guard keeps open as long as the command lives.

    Returns:
        The exit code; 128 + N if signal N ended it.
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
        start_new_session=True,  # a signal to this process's group must not reach the command
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
            rest.read()  # otherwise the command's last lines would meet a closed pipe
        code = guarded.wait()
    return code
