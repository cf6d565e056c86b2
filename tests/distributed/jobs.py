"""Work for processes of Ray, in a module that they can import."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from protoquant.core.errors import DataError

Job = tuple[str, Path]


def maker() -> Callable[[Job], str]:
    """What does the jobs: names this process, dies or fails as the job says."""

    def work(job: Job) -> str:
        doing, folder = job
        if doing == "die always":
            os.kill(os.getpid(), signal.SIGKILL)
        if doing == "die once" and not (folder / "died").exists():
            (folder / "died").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if doing == "fail":
            raise DataError("robin.png changed since prepare")
        return f"{doing} by {os.getpid()}"

    return work


def broken() -> Callable[[Job], str]:
    """Cannot be made."""
    raise DataError("no weights here")
