"""Listens to supervisord and kills the processes that a dead service has left behind.

`mlflow server` and `ray start` keep their servers as children. If such a parent is killed alone, they keep the ports
that its successor needs. supervisord makes every service the leader of a process group, so its pid is enough.
"""

import contextlib
import os
import signal
import sys

from supervisor.childutils import get_headers, listener


def main() -> None:
    """Answer supervisord's events for ever."""
    while True:
        _, payload = listener.wait(sys.stdin, sys.stdout)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it left nothing behind
            os.killpg(int(get_headers(payload)["pid"]), signal.SIGKILL)
        listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
