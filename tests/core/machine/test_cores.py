"""Cores are counted as affinity and the quotas of cgroups allow; commands leave them to others while they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from protoquant.core.events import Event, MessageEvent
from protoquant.core.machine import cores as module
from protoquant.core.machine.cores import WAITING, cores, share_cores, warn_of_threads
from protoquant.core.runtime import Runtime

ROOT = Path(__file__).parents[3]
V1 = "11:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n0::/docker/ab\n"
QUOTA, PERIOD = "sys/fs/cgroup/cpu/{}cpu.cfs_quota_us", "sys/fs/cgroup/cpu/{}cpu.cfs_period_us"


@pytest.fixture(autouse=True)
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_affinity", lambda: 8)


def made(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("quotas", "counted"),
    [
        ({}, 8),
        ({"jobs.slice/one/cpu.max": "max 100000\n"}, 8),
        ({"jobs.slice/one/cpu.max": "300000 100000\n"}, 3),
        ({"jobs.slice/one/cpu.max": "210000 100000\n"}, 3),
        ({"jobs.slice/one/cpu.max": "5000 100000\n"}, 1),
        ({"jobs.slice/one/cpu.max": "6400000 100000\n"}, 8),
        ({"jobs.slice/one/cpu.max": "max 100000\n", "jobs.slice/cpu.max": "200000 50000\n"}, 4),
        ({"jobs.slice/one/cpu.max": "300000 100000\n", "jobs.slice/cpu.max": "200000 100000\n"}, 2),
        ({"jobs.slice/one/cpu.max": "200000 100000\n", "jobs.slice/cpu.max": "300000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"jobs.slice/two/cpu.max": "100000 100000\n"}, 8),
    ],
    ids=["none", "max", "3", "a part", "tiny", "more", "around", "less around", "more around", "top", "of another"],
)
def test_a_quota_of_version_2_counts_wherever_it_stands_above_the_process(
    quotas: dict[str, str], counted: int, tmp_path: Path
) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in quotas.items()}
    assert cores(made(tmp_path, **{"proc/self/cgroup": "0::/jobs.slice/one\n"}, **files)) == counted


@pytest.mark.parametrize(
    ("group", "quota", "counted"),
    [("docker/ab/", "250000\n", 3), ("docker/", "100000\n", 1), ("", "400000\n", 4), ("docker/ab/", "-1\n", 8)],
)
def test_a_quota_of_version_1_counts_too_also_where_a_container_sees_its_own_group_as_the_top(
    group: str, quota: str, counted: int, tmp_path: Path
) -> None:
    files = {QUOTA.format(group): quota, PERIOD.format(group): "100000\n"}
    assert cores(made(tmp_path, **{"proc/self/cgroup": V1}, **files)) == counted


@pytest.mark.parametrize("group", ["/", "/../..", "/../other", "/gone:with/a:colon"])
def test_a_group_outside_of_what_a_container_sees_has_the_quota_of_the_top(group: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    root = made(tmp_path, **{"proc/self/cgroup": f"0::{group}\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert cores(root) == 2


@pytest.mark.parametrize("text", ["", "max\n", "many 100000\n", "100000 0\n", "0 100000\n"])
def test_a_quota_that_is_none_and_a_system_without_groups_leave_the_affinity(text: str, tmp_path: Path) -> None:
    assert cores(tmp_path) == 8
    assert cores(made(tmp_path, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})) == 8


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_held_on_one_core_counts_one_and_decodes_by_one_thread() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from protoquant.core.machine.cores import cores; from protoquant.core.runtime import Runtime\n"
        "print(cores(), Runtime().workers)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PROTOQUANT_WORKERS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]


def test_threads_that_decode_are_as_many_as_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROTOQUANT_WORKERS", raising=False)
    monkeypatch.setattr(module, "_quotas", lambda root: [2.5])
    assert Runtime.from_environment().workers == 3
    monkeypatch.setenv("PROTOQUANT_WORKERS", "20")
    assert Runtime.from_environment().workers == 20


def test_threads_that_wait_sleep() -> None:
    environment: dict[str, str] = {}
    share_cores(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_says_of_waiting_stays(name: str) -> None:
    environment = {name: "ACTIVE"}
    share_cores(environment)
    assert environment == {name: "ACTIVE"}


def test_openmp_is_told_of_a_quota_where_nobody_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_quotas", lambda root: [2.5])
    environment: dict[str, str] = {}
    share_cores(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}
    environment = {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "PASSIVE"}
    share_cores(environment)
    assert environment == {"OMP_NUM_THREADS": "8", "OMP_WAIT_POLICY": "PASSIVE"}


def test_more_threads_than_cores_are_one_line_and_as_many_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    monkeypatch.setattr(module, "_quotas", lambda root: [])
    warn_of_threads(8, told.append)
    assert told == []
    warn_of_threads(9, told.append)
    monkeypatch.setattr(module, "_quotas", lambda root: [0.5])
    warn_of_threads(2, told.append)
    says = "it works slower, to the same result; give it more cores, or lower threads, which rounds differently"
    assert told == [
        MessageEvent(f"threads is 9 (params.yaml), and this process may use 8 cores: {says}", "warning"),
        MessageEvent(f"threads is 2 (params.yaml), and this process may use 1 core: {says}", "warning"),
    ]
