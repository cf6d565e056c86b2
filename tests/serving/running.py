"""The service as a user starts it: a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TOKEN = "s3cret-0123456789"  # noqa: S105 (of tests alone)
EVERYWHERE = "0.0.0.0"  # noqa: S104
PROGRAM = str(Path(sys.executable).with_name("protoquant"))


@contextmanager
def serving(
    bundle: Path, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """A service, its port, and what it wrote to standard error once it has ended."""
    written: list[str] = []
    process = subprocess.Popen(
        [PROGRAM, "serve", str(bundle), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(variables or {})},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://(127\.0\.0\.1|0\.0\.0\.0):(\d+)", line)
        assert found, line + process.stderr.read()
        yield process, int(found[2]), written
    finally:
        process.terminate()
        written += process.communicate(timeout=30)[1].splitlines()
