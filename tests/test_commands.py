"""What every command does to the machine: threads that wait sleep, and too many of them are told of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.machine.cores import WAITING

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
HELP = """
import sys; sys.argv[1:] = ["--help"]
from protoquant.cli.main import main
try: main()
except SystemExit: import torch
"""
RUNNER = "from flows.serve import main; main(); import os; print(os.environ['OMP_WAIT_POLICY'])"


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in {*WAITING, "PREFECT_API_URL"}}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=True
    )


def spins(**variables: str) -> str:
    """How often a waiting thread of torch looks again before it sleeps, once a command has started and loads torch."""
    said = run(HELP, OMP_DISPLAY_ENV="VERBOSE", **variables).stderr
    return next(line.split("'")[1] for line in said.splitlines() if "GOMP_SPINCOUNT" in line)


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings another OpenMP there")
def test_threads_of_torch_that_wait_sleep_at_once() -> None:
    assert spins() == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings another OpenMP there")
def test_threads_of_torch_wait_as_the_user_says() -> None:
    assert spins(GOMP_SPINCOUNT="300") == "300"
    assert int(spins(OMP_WAIT_POLICY="ACTIVE")) > 10**6


def test_the_runner_hands_it_on_to_the_processes_of_runs() -> None:
    assert run(RUNNER).stdout.split() == ["PASSIVE"]


@pytest.mark.parametrize("verb", ["quantize", "train"])
def test_a_stage_tells_once_of_more_threads_than_cores(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for threads, told in ((1024, 1), (1, 0)):
        (tmp_path / "params.yaml").write_text(f"threads: {threads}\n")
        said = CliRunner().invoke(app, [verb]).output
        assert said.count("warning: threads is 1024 (params.yaml), and this process may use ") == told
