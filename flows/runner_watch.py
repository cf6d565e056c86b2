"""A flow whose runner is gone ends itself: nobody could cancel it any more."""

import os
import signal
import threading

from prefect.runtime import deployment

_POLL = 0.5  # seconds


def end_with_runner() -> None:
    """Watch the process that started this one, where a runner did; call it as the first act of a flow.

    When it has gone, this process gets SIGTERM, which ends the stage and gives the run a state that says so. Its output
    went to the runner: it goes nowhere from then on, or the first line would break it.
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
