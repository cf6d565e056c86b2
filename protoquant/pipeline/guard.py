"""Runs a command that cannot outlive its caller, who holds standard input open: ``python guard.py COMMAND...``.

It runs as a file, not as a module: in a worktree of another commit, the module may differ or be missing.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import psutil

LADDER = ((signal.SIGINT, 2.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
"""Signals sent to a command that must end, each with the seconds to wait before the next."""
_POLL = 0.05  # seconds


def main(command: Sequence[str]) -> int:
    """Run a command in a session of its own, and end it with all its children when the caller ends or asks.

    The end of standard input shows that the caller has ended, however it died. The caller asks with SIGINT, SIGTERM or
    SIGHUP.

    Args:
        command: Words of the command.

    Returns:
        Its exit code; 128 + N if signal N ended it.
    """
    over = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    threading.Thread(target=_wait_for_caller, args=(over,), daemon=True).start()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not over.wait(_POLL):
        pass
    if child.poll() is None:
        _end(child)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # processes that the command left behind in its group
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wait_for_caller(over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    over.set()


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Send the signals of `LADDER` in turn; children that left the group get each one too."""
    family = [psutil.Process(child.pid)]
    for number, patience in LADDER:
        with contextlib.suppress(psutil.Error):
            family = list({*family, *family[0].children(recursive=True)})
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        for process in family:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) != child.pid:
                    process.send_signal(number)
        if not psutil.wait_procs(family, timeout=patience)[1]:
            break
    child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
