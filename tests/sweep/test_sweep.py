"""Sweeps that run on Ray: killed and resumed, with failing trials, ended early; what MLflow holds afterwards."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from protoquant.core.artifacts import read_json, read_table
from protoquant.core.workspace import Workspace
from protoquant.model.bundle import Bundle
from protoquant.settings.params_file import override
from protoquant.settings.settings import read_params
from protoquant.sweep.records import SweepFolder, TrialRecord
from tests.flows.served import wait_for
from tests.workspaces import Job

pytestmark = pytest.mark.server

_SOON = 120  # seconds


def records(job: Job, name: str) -> list[TrialRecord]:
    """The trials of a sweep that have ended."""
    return SweepFolder.of(Workspace(job.root), name).records()


def numbers(job: Job, name: str) -> dict[str, Any]:
    """What a sweep measured, by trial; how long it took and in which order is left out."""
    return {one.point.trial: (one.state, one.numbers, one.path) for one in records(job, name)}


def runs(job: Job, name: str) -> tuple[str, Counter[str]]:
    """Status of the parent in MLflow, and of its children, counted."""
    client = MlflowClient(f"sqlite:///{job.root / 'mlflow.db'}")
    found = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=1000)
    (parent,) = [run for run in found if run.info.run_name == f"sweep-{name}"]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len({run.data.tags["sweep_trial"] for run in children}) == len(children)
    return parent.info.status, Counter(run.info.status for run in children)


@contextmanager
def changed(job: Job, **changes: object) -> Iterator[None]:
    """Other values in params.yaml for a while."""
    path = job.root / "params.yaml"
    before = path.read_bytes()
    override(path, {key.replace("__", "."): value for key, value in changes.items()}, source="a test")
    try:
        yield
    finally:
        path.write_bytes(before)


def trial_process(driver: int) -> psutil.Process | None:
    """A process in which Ray runs a trial of this driver."""
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            name = " ".join(process.cmdline())
            if name.startswith("ray::") and "IDLE" not in name and "train" in name.lower():
                return process
    return None


@pytest.fixture(scope="module")
def undisturbed(job: Job) -> dict[str, Any]:
    """What the sweep measures when nothing happens to it."""
    said = job.run("protoquant", "sweep", "run", "quiet")
    assert "is the smallest model within 1 point of the best" in said.stderr + said.stdout
    return numbers(job, "quiet")


def test_killed_and_resumed_every_trial_is_there_once(job: Job, undisturbed: dict[str, Any]) -> None:
    with changed(job, sweep__at_once=1):
        words = [sys.executable, "-m", "protoquant", "sweep", "run", "killed"]  # its children are looked for
        own = job.environment | {"RAY_ADDRESS": "local"}  # a Ray of its own, which dies with it
        driver = subprocess.Popen(words, cwd=job.root, env=own, stderr=subprocess.DEVNULL)
        trial = wait_for(lambda: trial_process(driver.pid), "a trial", _SOON)
        trial.kill()
        wait_for(lambda: records(job, "killed"), "a first record", _SOON)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    kept = len(records(job, "killed"))
    assert 1 <= kept < 4
    refused = job.run("protoquant", "sweep", "run", "killed", check=False)
    assert refused.returncode == 2
    assert f"there is a sweep 'killed' with {kept} ended trials" in " ".join(refused.stderr.split())
    said = job.run("protoquant", "sweep", "resume", "killed").stderr
    assert f"{4 - kept} of 4 trials to run" in said
    assert numbers(job, "killed") == undisturbed
    assert sorted(one.number for one in records(job, "killed")) == [1, 2, 3, 4]
    assert runs(job, "killed") == ("FINISHED", Counter(FINISHED=4))
    job.run("protoquant", "sweep", "resume", "killed")
    assert runs(job, "killed") == ("FINISHED", Counter(FINISHED=4))
    assert not list((job.root / "artifacts" / "sweeps" / "killed").glob(".tune*"))


@pytest.mark.usefixtures("undisturbed")
def test_the_winner_applied_gives_the_numbers_of_its_trial(job: Job) -> None:
    folder = job.root / "artifacts" / "sweeps" / "quiet" / "result"
    before = (job.root / "params.yaml").read_text().splitlines()
    job.run("protoquant", "sweep", "apply", "quiet")
    after = (job.root / "params.yaml").read_text().splitlines()
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= len(read_params(job.root / "params.yaml"))
    assert [line for line in before if line.lstrip().startswith("#")] == [
        line for line in after if line.lstrip().startswith("#")
    ]
    chosen = read_json(folder / "choice.json")["choice"]["trial"]
    trials = read_table(folder / "trials.parquet").set_index("trial")
    assert len(trials) == 4
    job.run("protoquant", "quantize")
    job.run("protoquant", "train")
    metrics = Bundle.open(job.root / "artifacts" / "bundle").metrics
    assert metrics["choice"]["top1"] == trials.loc[chosen, "accuracy"]
    assert metrics["choice"]["validation_top1"] == trials.loc[chosen, "validation_top1"]
    assert (
        metrics["prototypes"] <= trials.loc[chosen, "prototypes"]
    )  # joint training, which trials leave out, lets go of some
    assert "holds the winner already" in job.run("protoquant", "sweep", "apply", "quiet").stdout


def test_a_trial_that_fails_is_kept_beside_the_others_and_run_again(job: Job) -> None:
    space = {"quantize.size": [2, 8]}
    with changed(job, sweep__space=space, quantize__size_unit="codebook"):
        failed = job.run("protoquant", "sweep", "run", "half", check=False)
        again = job.run("protoquant", "sweep", "resume", "half", check=False)
    for said in (failed, again):
        assert said.returncode == 1
        assert "Traceback" not in said.stderr
        assert "1 of 2 trials failed; protoquant sweep resume half runs them again" in " ".join(said.stderr.split())
    states = {one.point.changes["quantize.size"]: one.state for one in records(job, "half")}
    assert states == {2: "failed", 8: "done"}
    assert runs(job, "half") == ("KILLED", Counter(FINISHED=1, FAILED=1))


def test_trials_that_are_ended_early_leave_no_run_running(job: Job) -> None:
    space = {"train.temperature": [0.05, 5.0, 10.0]}
    early = {"grace": 1, "reduction": 2}
    with changed(job, sweep__space=space, sweep__early_stopping=early, sweep__at_once=1):
        job.run("protoquant", "quantize")
        job.run("protoquant", "sweep", "run", "early")
    states = Counter(one.state for one in records(job, "early"))
    assert states["stopped"] >= 1
    assert states["done"] + states["stopped"] == 3
    status, children = runs(job, "early")
    assert (status, children) == ("FINISHED", Counter(FINISHED=states["done"], KILLED=states["stopped"]))


@pytest.mark.parametrize(
    ("changes", "address", "code", "sentence"),
    [
        ({"sweep__space": {"quantize.sise": [1, 2]}}, "", 2, "unknown key 'quantize.sise'; did you mean 'size'?"),
        ({"sweep__gpus": 0.5}, "", 2, "GPUs in one process, no node"),
        ({}, "127.0.0.1:1", 75, "no Ray at 127.0.0.1:1"),
    ],
)
def test_what_cannot_begin_is_one_line_and_takes_no_name(
    job: Job, changes: dict[str, object], address: str, code: int, sentence: str
) -> None:
    with changed(job, **changes):
        environment = job.environment | ({"RAY_ADDRESS": address} if address else {})
        words = ["protoquant", "sweep", "run", "never"]
        done = subprocess.run(words, cwd=job.root, env=environment, capture_output=True, text=True, check=False)
    said = " ".join(done.stderr.split())
    assert sentence in said
    assert (done.returncode, "Traceback" in said) == (code, False)
    assert records(job, "never") == []


@pytest.mark.usefixtures("undisturbed")
def test_other_features_than_a_sweep_began_with_are_refused(job: Job) -> None:
    with changed(job, extract__dtype="float32"):
        job.run("protoquant", "extract")
        refused = job.run("protoquant", "sweep", "resume", "quiet", check=False)
    job.run("protoquant", "extract")
    assert refused.returncode == 1
    assert "is not what sweep 'quiet' began with" in " ".join(refused.stderr.split())
    job.run("protoquant", "sweep", "resume", "quiet")


@pytest.mark.usefixtures("undisturbed")
def test_the_name_of_a_sweep_that_is_not_there_is_suggested(job: Job) -> None:
    said = job.run("protoquant", "sweep", "show", "qiet", check=False)
    assert (said.returncode, "did you mean 'quiet'?" in said.stderr) == (2, True)
