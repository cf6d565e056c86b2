"""Counts the cores that this process may use, and leaves them to other processes while it waits.

joblib and Ray count cores too, but each looks at one fixed cgroup (and Ray ignores affinity), so both miss a quota of
the slice, job or pod around a process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path

from protoquant.core.events import MessageEvent, OnEvent

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables with which a user can set how OpenMP threads wait."""
_V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
_V2 = ("cpu.max",)


def cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use: those of its affinity, or fewer if a cgroup quota allows fewer.

    Args:
        root: Root of the file system that holds ``proc`` and ``sys``.

    Returns:
        At least 1; a fraction of a core counts as one.
    """
    return max(1, math.ceil(min([_affinity(), *_quotas(root)])))


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make waiting OpenMP threads sleep and OpenMP respect a quota; call it in commands, before torch is imported.

    Otherwise OpenMP threads spin while they wait for each other, on cores that other processes could use, and without
    a given number of threads OpenMP counts only the affinity. Child processes inherit both settings; variables that
    the user has set are kept.

    Args:
        environment: Environment of this process.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    allowed = cores()
    if allowed < _affinity():
        environment.setdefault("OMP_NUM_THREADS", str(allowed))


def warn_of_threads(threads: int, on_event: OnEvent) -> None:
    """Warn if there are more threads than cores; the number stays, since another one rounds differently.

    Args:
        threads: Number of threads in params.yaml.
        on_event: Receives the warning, one line.
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
    """The quotas, in cores, of this process's cgroups and of all groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield from _along(mount, group, _V2)
        elif "cpu" in controllers.split(","):
            yield from _along(mount / "cpu", group, _V1)


def _along(top: Path, group: str, files: tuple[str, ...]) -> Iterator[float]:
    """The quotas from a group up to the top; groups that a container cannot see are skipped."""
    folder = top / os.path.normpath(group).lstrip("/")
    for place in (folder, *folder.parents[: len(folder.parts) - len(top.parts)]):
        with suppress(OSError, ValueError):  # ValueError: the quota is "max"
            quota, period = (int(word) for file in files for word in (place / file).read_text("utf-8").split())
            if quota > 0 and period > 0:  # -1: no quota
                yield quota / period
