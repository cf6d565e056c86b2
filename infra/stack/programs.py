"""Finds the programs of the services."""

import shutil
import sys
from pathlib import Path

from infra.stack.errors import StackError

DEBIAN = Path("/usr/lib/postgresql")


def find(name: str) -> str:
    """Return the path of a program that a service names.

    Args:
        name: First word of its command.

    Raises:
        StackError: If it is not installed.
    """
    if name == "python":
        return sys.executable
    if name in ("postgres", "initdb", "pg_isready"):
        return postgres(name)
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed in this environment; `make stack-up` installs the extra 'stack'")
    return found


def postgres(name: str) -> str:
    """Return one of PostgreSQL's programs, the newest where Debian keeps several.

    Raises:
        StackError: If the server is not installed.
    """
    debian = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which(name)
    if found is None:
        raise StackError(
            f"PostgreSQL's {name} is neither in {DEBIAN}/*/bin nor on PATH; install the server: "
            "`apt-get install postgresql` (Debian, Ubuntu), `brew install postgresql` (macOS)"
        )
    return found
