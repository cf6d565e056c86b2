"""Servers and processes that die in the middle: nothing is lost, nothing is twice, the digests are the same."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.conftest import Platform, digests, undisturbed
from tests.flows.served import wait_for
from tests.pipeline.conftest import tree_of

pytestmark = pytest.mark.server

Expected = Callable[[str, int], dict[str, str]]
QUICK = {"train.joint.epochs": 3, "evaluate.stability_images": 8}


def start(platform: Platform, name: str, seed: int, **params: object) -> str:
    return platform.served.start({"name": name, "seed": seed, "overrides": QUICK, **params})


def recorded(platform: Platform, run: str) -> dict[str, str]:
    """The outputs of the experiment of a run."""
    name = platform.served.run(run)["state"]["message"].removeprefix("DVC experiment ")
    refs = platform.job.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    ref = next(ref for ref in refs if ref.endswith(f"/{name}"))
    return digests(platform.job.run("git", "show", f"{ref}:dvc.lock").stdout)


def registered(platform: Platform, name: str) -> tuple[list[str], list[int]]:
    """The states of the runs, and the versions, of a model."""
    client = MlflowClient(platform.stack.env()["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    versions = client.search_model_versions(f"name = '{name}'")
    return [run.info.status for run in runs], [int(version.version) for version in versions]


@pytest.fixture
def expected(platform: Platform, tmp_path: Path) -> Callable[[str, int], dict[str, str]]:
    """What an undisturbed run of a seed gives."""
    return lambda name, seed: undisturbed(
        platform.job, tmp_path / "undisturbed", {**QUICK, "register.name": name, "seed": seed}
    )


def test_three_runs_within_a_second(platform: Platform) -> None:
    before = tree_of(platform.job.root)
    began = time.monotonic()
    runs = [start(platform, f"three-{size}", 0, size=size) for size in (4, 5, 6)]
    assert time.monotonic() - began < 1, "started within a second"
    for run in runs:
        assert platform.served.end(run)[0] == "Completed", platform.served.tasks(run)
    computed = [int(n) for run in runs for n in re.findall(r"(\d+) shards computed", platform.served.logs(run))]
    assert sum(computed) == 3, "one shard for each split, once"
    listed = platform.job.run("dvc", "exp", "list").stdout
    for run, size in zip(runs, (4, 5, 6), strict=True):
        assert platform.served.run(run)["state"]["message"].removeprefix("DVC experiment ") in listed
        assert registered(platform, f"three-{size}") == (["FINISHED"], [1])
        links = platform.served.artifacts(run)["links"]["data"]
        assert platform.stack.env()["MLFLOW_TRACKING_URI"] in links
    assert tree_of(platform.job.root) == before


def test_the_runner_is_killed_in_extract_in_train_and_in_register(platform: Platform, expected: Expected) -> None:
    run = start(platform, "killed", 11)
    for stage in ("extract", "train", "register"):
        process = platform.served.wait_for_stage(stage)
        platform.kill_runner()
        wait_for(lambda gone=process: not gone.is_running(), "the stage's end", 10)
        assert platform.served.end(run)[0] == "Crashed"
        wait_for(lambda: "Running" not in dict(platform.served.tasks(run).values()), "the tasks' end", 120)
        platform.served.retry(run)
    assert platform.served.end(run)[0] == "Completed", platform.served.tasks(run)
    assert registered(platform, "killed") == (["FINISHED"], [1])
    assert recorded(platform, run) == expected("killed", 11)


@pytest.mark.parametrize(("service", "seed"), [("s3", 12), ("mlflow", 13)])
def test_a_server_that_stops_in_register_gets_all_later_and_once(
    platform: Platform, expected: Expected, service: str, seed: int
) -> None:
    name = f"without-{service}"
    run = start(platform, name, seed)
    platform.served.wait_for_stage("register")
    platform.stop(service)
    assert platform.served.end(run)[0] == "Completed", platform.served.tasks(run)
    assert "tracking sync" in platform.served.logs(run)
    platform.heal()
    platform.job.run("protoquant", "tracking", "sync")
    platform.job.run("protoquant", "tracking", "sync")
    states, versions = registered(platform, name)
    assert (states, versions) == (["FINISHED"], [1])
    assert recorded(platform, run) == expected(name, seed)


def test_the_database_is_away_for_twenty_seconds(platform: Platform, expected: Expected) -> None:
    run = start(platform, "no-database", 14)
    platform.served.wait_for_stage("train")
    platform.stop("postgres")
    time.sleep(20)
    platform.heal()
    if platform.served.end(run)[0] != "Completed":
        platform.served.retry(run)
    assert platform.served.end(run)[0] == "Completed", platform.served.tasks(run)
    platform.job.run("protoquant", "tracking", "sync")
    assert registered(platform, "no-database") == (["FINISHED"], [1])
    assert recorded(platform, run) == expected("no-database", 14)
