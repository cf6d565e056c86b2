"""Checks this clone's runner by a file that the runner renews at each poll: ``python -m flows.health``.

It uses no port, because Prefect's own would let anyone shut the runner down.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import psutil

from protoquant.core.workspace import Workspace

CLONE = Path(__file__).resolve().parents[1]
LIMIT = 30.0  # seconds between two polls for runs; the runner polls every three


def heartbeat(url: str) -> Path:
    """Return the file that the runner of a Prefect server renews.

    Args:
        url: URL of the server's API.
    """
    return Workspace(CLONE).shared / "runners" / hashlib.sha256(url.encode()).hexdigest()[:16]


def main() -> int:
    """Print in one line whether the runner of the server at ``PREFECT_API_URL`` works.

    Returns:
        0 if it does, 1 if not.
    """
    url = os.environ.get("PREFECT_API_URL", "")
    reason = trouble(heartbeat(url), time.time())
    sys.stdout.write(f"the runner of {CLONE} for {url or 'no server'} {reason or 'works'}\n")
    return 1 if reason else 0


def trouble(file: Path, now: float) -> str:
    """Return what is wrong with the runner that renews a file; empty if nothing is.

    Args:
        file: Holds the runner's process id.
        now: Seconds of the system's clock.
    """
    try:
        pid, age = int(file.read_text(encoding="utf-8")), now - file.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return "has not looked for runs; start it (make stack-up, or make serve), or correct PREFECT_API_URL"
    if not psutil.pid_exists(pid):
        return f"is gone (its process was {pid})"
    return f"last looked for runs {age:.0f} s ago" if age > LIMIT else ""


if __name__ == "__main__":
    sys.exit(main())
