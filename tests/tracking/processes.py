"""``register`` in a process of its own, forked from one that has imported what it needs."""

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.register import register

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["protoquant.model.bundle", __name__])


def start_register(root: Path, name: str, *, cwd: Path) -> tuple[BaseProcess, Connection]:
    """Begin, in this environment; the process sends the version."""
    version, sender = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_register, args=(root, name, cwd, dict(os.environ), sender))
    process.start()
    return process, version


def _register(root: Path, name: str, cwd: Path, environment: Mapping[str, str], sender: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    result = register(RegisterConfig(name=name), workspace=Workspace(root), params={"seed": 0}, on_event=ignore)
    sender.send(result.version)
