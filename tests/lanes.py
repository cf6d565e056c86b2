"""Lanes: what a test needs decides when it runs and what it may do; what each lane costs is told at the end.

A test without a marker is plain: no process, no server, no browser, no backbone beyond a toy, no second of torch.
"""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

PLAIN = "plain"
LANES = ("browser", "server", "process", "model", PLAIN)
"""The markers of pyproject, and what has none of them; a test with several counts in the first."""
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
_TOGETHER = {f"tests/{name}/": name for name in ("flows", "infra", "storage", "export")} | {
    f"tests/{name}": "ray" for name in ("distributed/", "sweep/", "features/test_extract_on_ray.py")
}
"""Tests that share a server or a trace, so that one process runs them all."""

_lane: str | None = None  # of the test that runs
_seen = 0.0  # processor seconds until its last phase ended
_costs: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])


def lane_of(names: Iterable[str]) -> str:
    """The lane of a test's markers, or of a report's keywords."""
    return next((lane for lane in LANES if lane in names), PLAIN)


def _lane_of(item: pytest.Item) -> str:
    return lane_of({mark.name for mark in item.iter_markers()})


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail a test that starts a process outside of the lanes for it."""
    if event in _STARTS and _lane in (PLAIN, "model"):
        raise AssertionError(f"a test of the lane {_lane} may start no process; mark it ({event} {arguments[:2]})")


sys.addaudithook(_refuse)


def _seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def scope_of(nodeid: str) -> str:
    """What one process runs whole: a file, or those whose tests share a server."""
    return next((name for start, name in _TOGETHER.items() if nodeid.startswith(start)), nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long lanes first, so that no process waits at the end for the other's last file."""
    places: dict[str, int] = {}
    for item in items:
        place = LANES.index(_lane_of(item))
        places[scope_of(item.nodeid)] = min(place, places.get(scope_of(item.nodeid), place))
    items.sort(key=lambda item: places[scope_of(item.nodeid)])


class _ByScope(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByScope:
    """Share the tests among processes by their scopes."""
    return _ByScope(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know the lane while a test runs."""
    global _lane, _seen  # noqa: PLW0603  an audit hook takes no argument
    _lane, _seen = _lane_of(item), _seconds()
    try:
        return (yield)
    finally:
        _lane = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    """Write the processor seconds of a phase into its report, which goes to the process that tells them."""
    global _seen
    report = yield
    before, _seen = _seen, _seconds()
    report.user_properties.append(("processor seconds", _seen - before))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a phase to the cost of its lane."""
    cost = _costs[lane_of(report.keywords)]
    cost[0] += report.when == "call"
    cost[1] += report.duration
    cost[2] += sum(seconds for name, seconds in report.user_properties if name == "processor seconds")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell each lane's share, and the processor minutes of the whole run."""
    total = sum(cost[1] for cost in _costs.values()) or 1.0
    terminalreporter.section("lanes")
    for lane in reversed(LANES):
        tests, seconds, used = _costs[lane]
        share = f"{seconds:6.0f} s {seconds / total:4.0%}"
        terminalreporter.write_line(f"{lane:8}{tests:6.0f} tests {share} {used:6.0f} processor seconds")
    terminalreporter.write_line(f"processor minutes of all processes that ended: {_seconds() / 60:.1f}")
