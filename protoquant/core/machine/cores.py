"""The cores of the machine: how many this process may use, and how it leaves them to others while it waits.

joblib and Ray count them too, but look at one fixed group each (Ray at no affinity): a quota of a slice, a job or a pod
around a process escapes them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path

from protoquant.core.events import MessageEvent, OnEvent

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user may say how OpenMP's threads wait."""
_V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
_V2 = ("cpu.max",)


def cores(root: Path = Path("/")) -> int:
    """Count the cores of this process: of its affinity, or fewer where a quota of its cgroups allows fewer.

    Args:
        root: Of the file system that holds ``proc`` and ``sys``.

    Returns:
        At least 1; a part of a core counts as one.
    """
    return max(1, math.ceil(min([_affinity(), *_quotas(root)])))


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait sleep, and OpenMP see a quota; for commands, and of use before torch is imported alone.

    OpenMP's threads otherwise spin while they wait for each other, on cores that other processes could use, and where
    nobody says how many they are, it counts the affinity alone. Child processes inherit both; what the user's own
    environment says stays.

    Args:
        environment: Of this process.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    allowed = cores()
    if allowed < _affinity():
        environment.setdefault("OMP_NUM_THREADS", str(allowed))


def warn_of_threads(threads: int, on_event: OnEvent) -> None:
    """Say where there are more threads than cores; they stay, since another count rounds differently.

    Args:
        threads: As params.yaml says.
        on_event: Told in one line.
    """
    allowed = cores()
    if threads > allowed:
        text = (
            f"threads is {threads} (params.yaml), and this process may use {allowed} core{'s' if allowed > 1 else ''}: "
            "it works slower, to the same result; give it more cores, or lower threads, which rounds differently"
        )
        on_event(MessageEvent(text, "warning"))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of the groups that this process is in and of all groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield from _along(mount, group, _V2)
        elif "cpu" in controllers.split(","):
            yield from _along(mount / "cpu", group, _V1)


def _along(top: Path, group: str, files: tuple[str, ...]) -> Iterator[float]:
    """The quotas on the way up to the top; what a container does not see of it is not there."""
    folder = top / os.path.normpath(group).lstrip("/")
    for place in (folder, *folder.parents[: len(folder.parts) - len(top.parts)]):
        with suppress(OSError, ValueError):  # ValueError: "max"
            quota, period = (int(word) for file in files for word in (place / file).read_text("utf-8").split())
            if quota > 0 and period > 0:  # -1: none
                yield quota / period
