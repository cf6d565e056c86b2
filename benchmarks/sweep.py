"""Compare a sweep of 8 codebook sizes with 20 sparsities each with one training; measure parallel trials' memory.

Run from the project's folder (about ten minutes on two idle cores; it writes to a temporary folder only)::

    python -m benchmarks.sweep

All times are of the whole commands, start of Python and Ray included. A trial that imports no timm runs no backbone;
the table says whether it did. Memory is the proportional set size of the trials' processes, sampled, beyond that of a
process that has imported torch and waits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from protoquant.core.machine.cores import cores
from protoquant.settings.params_file import override
from protoquant.sweep.records import SweepFolder

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
ROOT = Path(__file__).parents[1]
BASE = {
    "quantize.size_unit": "codebook",
    "quantize.seeding": "kmeans++",
    "quantize.epochs": 10,
    "quantize.size": max(SIZES),
    "train.solver": "proximal",
    "train.budget": None,
    "train.points": 20,
    "train.temperature": 0.05,
    "train.joint": None,
    "sweep.cpus": 1.0,
    "sweep.at_once": 1,
}
_MIB = 2**20


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="protoquant-benchmark-") as folder:
        root = Path(folder)
        _workspace(root)
        one = _time(root, "quantize") + _time(root, "train")
        _change(root, {"sweep.space": {"quantize.size": list(SIZES)}})
        eight = _time(root, "sweep", "run", "sizes")
        models = sum(len(record.path) - 1 for record in SweepFolder(root / "artifacts/sweeps/sizes").records())
        four = {"sweep.space": {"quantize.size": [512], "train.temperature": [0.03, 0.04, 0.05, 0.06]}}
        _change(root, four)
        sequence = _time(root, "sweep", "run", "sequence")
        _change(root, {"sweep.at_once": 2})
        with _sampled() as sizes:
            at_once = _time(root, "sweep", "run", "at-once")
        idle = _idle()
        imported = _imports_timm(root)
    table = Table(title=f"sweeps on {cores()} cores")
    for name in ("what", "seconds", "ratio", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    table.add_row(f"one quantize + train, {max(SIZES):,} codes, 20 sparsities", f"{one:.1f}", "1", "")
    table.add_row(f"{len(SIZES)} sizes from {min(SIZES)}, {models} models", f"{eight:.1f}", f"{eight / one:.2f}", "3")
    table.add_row("its trials import timm", "yes" if imported else "no", "", "no")
    table.add_row("four trials one after the other", f"{sequence:.1f}", "1", "")
    table.add_row("the same two at once", f"{at_once:.1f}", f"{at_once / sequence:.2f}", "")
    extra = (max(sizes, default=0) - idle) / _MIB
    table.add_row(f"largest trial beyond an idle process of {idle / _MIB:.0f} MiB", "", f"{extra:.0f} MiB", "300 MiB")
    Console().print(table)


def _workspace(root: Path) -> None:
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy(ROOT / "params.yaml", root)
    _change(root, BASE)
    for stage in ("prepare", "extract"):
        _time(root, stage)


def _change(root: Path, values: dict[str, object]) -> None:
    override(root / "params.yaml", values, source="the benchmark")


def _time(root: Path, *words: str) -> float:
    started = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [str(Path(sys.executable).with_name("protoquant")), *words]
    subprocess.run(
        command, cwd=root, env=environment | {"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """Sample the proportional set sizes of Ray's trial processes, in bytes, four times a second."""
    found: list[int] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.25):
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if words and words[0].startswith("ray::Implicit"):
                    found.append(_pss(process.pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _pss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.Error:
        return 0


def _idle() -> int:
    """Return the proportional set size of a Ray process that has imported torch, beside another like it."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    @ray.remote(num_cpus=1)
    class Idle:
        def pid(self) -> int:
            import torch  # noqa: F401

            return os.getpid()

    actors = [Idle.remote() for _ in range(2)]  # type: ignore[attr-defined]
    size = max(_pss(pid) for pid in ray.get([actor.pid.remote() for actor in actors]))
    ray.shutdown()
    return size


def _imports_timm(root: Path) -> bool:
    """Run a trial in a separate process and return whether it imported timm."""
    code = (
        "import sys; from pathlib import Path; from protoquant.core.workspace import Workspace; "
        "from protoquant.sweep.plan import SweepPlan; from protoquant.sweep.trial import Job, run_trial; "
        "plan = SweepPlan.open(Path('artifacts/sweeps/sizes/plan')); "
        "found = run_trial(Job.prepare(plan, Workspace(Path.cwd()), 'cpu'), plan.points[0], lambda _: None); "
        "assert not found['error'], found; print('timm' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.split()[-1] == "True"


if __name__ == "__main__":
    main()
