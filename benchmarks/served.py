"""Runs a service in a separate process, for benchmarks."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Served:
    """A running service.

    Attributes:
        port: Port on loopback.
        process: The process.
        log: Its standard error.
    """

    port: int
    process: psutil.Process
    log: Path

    def memory(self) -> int:
        """Return the resident bytes."""
        return int(self.process.memory_info().rss)

    def cpu(self) -> float:
        """Return the processor seconds used so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


@contextmanager
def serving(bundle: Path, *options: str) -> Iterator[Served]:
    """Run ``protoquant serve`` on a free port until the block ends.

    Args:
        bundle: A bundle folder.
        options: Options of the command.
    """
    program = str(Path(sys.executable).with_name("protoquant"))
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        call = [program, "serve", str(bundle), "--port", "0", *options]
        process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r":(\d+)$", line)
            if found is None:
                raise RuntimeError(Path(log.name).read_text(encoding="utf-8"))
            yield Served(int(found[1]), psutil.Process(process.pid), Path(log.name))
        finally:
            process.terminate()
            process.wait(60)
