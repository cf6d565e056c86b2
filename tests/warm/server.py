"""The process that forks: ``python server.py SOCKET`` imports what commands import, then runs each in a child.

It imports packages alone, none of ours: a child imports ours from where its PYTHONPATH says, as a new process would.
It forks before any operation of torch, so that no thread of OpenMP is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PACKAGES = (
    "typer", "rich.console", "rich.progress", "pydantic_settings", "ruamel.yaml", "numpy", "pandas", "pyarrow.parquet",
    "torch", "torchvision", "timm", "safetensors.torch", "jaxtyping", "beartype", "jinja2", "scipy.stats", "PIL.Image",
    "matplotlib.pyplot", "psutil", "boto3", "mlflow", "mlflow.pyfunc", "mlflow.tracking", "mlflow.models.signature",
    "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store", "dvc.cli",
    "dvc.commands.repro", "dvc.repo", "dvc.stage", "dvc.render.match", "dvc.repo.experiments", "dulwich.porcelain",
)  # fmt: skip
MAINS = {"protoquant": "protoquant.cli.main", "dvc": "dvc.cli"}
"""Module whose ``main`` each command calls."""
SCRIPT = "warm-python"
"""The command that runs a file, or a module after ``-m``, as Python does."""


def main(path: str) -> None:
    """Serve until standard input ends."""
    for name in PACKAGES:
        importlib.import_module(name)
    ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("protoquant", "flows"))
    if ours:
        sys.exit(f"a package imports {ours}")
    gc.collect()
    gc.freeze()
    running: dict[BaseProcess, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready = connection.wait([server, 0, *running.values(), *(process.sentinel for process in running)])
            if 0 in ready:
                return
            for process, caller in list(running.items()):
                if process.sentinel in ready:
                    _tell(process, running.pop(process))
                elif caller in ready:
                    _pass_on(process, caller)
            if server in ready:
                caller = server.accept()[0]
                request, files = _receive(caller)
                process = get_context("fork").Process(target=_run, args=(request, files, [server, *running.values()]))
                process.start()
                running[process] = caller
                for file in files:
                    os.close(file)


def _receive(caller: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What to run, and its standard files."""
    data, files, _, _ = socket.recv_fds(caller, 1 << 16, 3)
    while not data.endswith(b"\0"):
        data += caller.recv(1 << 16)
    return json.loads(data[:-1]), files


def _pass_on(process: BaseProcess, caller: socket.socket) -> None:
    """Pass on a signal of the caller, or kill where it is gone."""
    number = caller.recv(1)
    os.kill(process.pid or 0, number[0] if number else signal.SIGKILL)
    if not number:
        process.join()


def _tell(process: BaseProcess, caller: socket.socket) -> None:
    """Tell the caller how its command ended."""
    process.join()
    with caller, contextlib.suppress(OSError):  # it is gone
        caller.sendall(str(process.exitcode).encode())


def _run(request: dict[str, Any], files: list[int], others: list[socket.socket]) -> None:
    """Be the command."""
    for other in others:
        other.close()
    os.setpgid(0, 0)
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    ours = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        _become(Path(sys.argv[0]), ours)
    finally:
        atexit._run_exitfuncs()


def _become(program: Path, ours: list[str]) -> None:
    """Run a command of `MAINS`, a file or a module, with a path of imports like that of a new process."""
    if program.name in MAINS:
        sys.path[0:1] = [str(program.parent), *ours]
        sys.exit(importlib.import_module(MAINS[program.name]).main())
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0:1] = [str(Path.cwd()), *ours]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0:1] = [str(Path(sys.argv[0]).resolve().parent), *ours]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
