"""Ends a flow whose runner is gone, since nobody could cancel it any more."""

import os
import signal
import threading

from prefect.runtime import deployment

_POLL = 0.5  # seconds


def end_with_runner() -> None:
    """Watch the runner that started this process, if one did; call this at the start of a flow.

    When the runner is gone, this process gets SIGTERM, which ends the stage and gives the run a state that says so. The
    output, which went to the runner, is discarded from then on; otherwise the first line would raise an error.
    """
    if deployment.id is None:
        return
    runner = os.getppid()
    threading.Thread(target=_watch, args=(runner,), name="end-with-runner", daemon=True).start()


def _watch(runner: int) -> None:
    wait = threading.Event()
    while os.getppid() == runner:
        wait.wait(_POLL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.kill(os.getpid(), signal.SIGTERM)
