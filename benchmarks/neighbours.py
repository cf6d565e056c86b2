"""Measure what neighbours cost: ``dvc repro`` alone and beside two others like it, by how OpenMP's threads wait.

Run from the project's folder (about ten minutes on two idle cores; it writes to temporary folders only)::

    python -m benchmarks.neighbours          # a small data set, for which imports take most of the time
    python -m benchmarks.neighbours --full   # the demo; an hour and more if threads spin

Seconds depend on who else uses the machine; CPU seconds are those of all processes of a job, and depend on others only
as far as its threads spin while they wait for a core. All ratios are to the job that runs alone and whose threads
sleep.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from protoquant.core.machine.cores import WAITING, cores

ROOT = Path(__file__).parents[1]
SMALL = {"classes": 4, "train": 8, "validation": 4, "test": 4}
WAYS: dict[str, dict[str, str]] = {
    "asleep (every command)": {},
    "as OpenMP does by itself": {"GOMP_SPINCOUNT": "300000"},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
}
NEIGHBOURS = 2


@dataclass(frozen=True)
class Cost:
    """The cost of a job: seconds of the clock, and of all cores."""

    seconds: float
    cpu: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the demo as it is, not a small one")
    parser.add_argument("--until", default=None, metavar="STAGE", help="the last stage; all of them if absent")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="how threads wait")
    given = parser.parse_args()
    words = ["dvc", "repro", *([given.until] if given.until else [])]
    what = f"{' '.join(words)} of {'the demo' if given.full else 'a small data set'}, {cores()} cores"
    table = Table("threads that wait", "job", "seconds", "ratio", "CPU seconds", "ratio", title=what)
    first = None
    for way in given.ways:
        for name, jobs in (("alone", 1), (f"each of {1 + NEIGHBOURS} at once", 1 + NEIGHBOURS)):
            cost = _cost(words, WAYS[way], jobs, {} if given.full else SMALL)
            first = first or cost
            table.add_row(
                way,
                name,
                f"{cost.seconds:.0f}",
                f"{cost.seconds / first.seconds:.2f}",
                f"{cost.cpu:.0f}",
                f"{cost.cpu / first.cpu:.2f}",
            )
            Console(stderr=True).print(f"{way}, {name}: {cost.seconds:.0f} s, {cost.cpu:.0f} CPU s", highlight=False)
    Console().print(table)


def _cost(words: Sequence[str], variables: Mapping[str, str], jobs: int, spec: Mapping[str, int]) -> Cost:
    """Return the mean cost of one of several jobs at once."""
    with tempfile.TemporaryDirectory(prefix="protoquant-benchmark-") as folder:
        roots = [Path(folder) / str(number) for number in range(jobs)]
        for root in roots:
            _workspace(root, spec)
        with ThreadPoolExecutor(jobs) as pool:
            costs = list(pool.map(lambda root: _run(words, root, variables), roots))
    return Cost(fmean(cost.seconds for cost in costs), fmean(cost.cpu for cost in costs))


def _workspace(root: Path, spec: Mapping[str, int]) -> None:
    """Make a separate project, so that no job finds the results of another."""
    for name in ("protoquant", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    file, yaml = root / "data/partbirds.yaml", YAML()
    content = yaml.load(file.read_text(encoding="utf-8"))
    content.update(spec)
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)


def _run(words: Sequence[str], root: Path, variables: Mapping[str, str]) -> Cost:
    theirs = {*WAITING, "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "RAY_ADDRESS"}
    kept = {name: value for name, value in os.environ.items() if name not in theirs and "PROTOQUANT_" not in name}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    environment = {**kept, "PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1", **variables}
    log, started = root.with_suffix(".log"), time.perf_counter()
    with log.open("wb") as out:
        job = subprocess.Popen(words, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(job.pid, 0)  # includes the children that the job has waited for
    if status:
        raise SystemExit(log.read_text(encoding="utf-8"))
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime)


if __name__ == "__main__":
    main()
