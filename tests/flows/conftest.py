"""One Prefect server, one small clone and its runner for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.served import Served, prefect_server
from tests.integration.job import Job

ROOT = Path(__file__).parents[2]
SMALL = {"classes": 4, "train": 8, "validation": 4, "test": 4}


def small_clone(root: Path) -> Job:
    """A committed copy of the sources with a small spec, in a repository of its own."""
    root.mkdir(parents=True)
    for name in ("protoquant", "flows", "data", "presets"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    job = Job(root)
    job.spec(**SMALL)
    job.run("git", "init", "-q")
    job.run("git", "add", "-A")
    job.run("git", "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-q", "-m", "start")
    return job


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small clone whose flows are served."""
    folder = tmp_path_factory.mktemp("served")
    job = small_clone(folder / "clone")
    with prefect_server(folder / "prefect") as variables:
        served = Served(job, variables, folder / "runner.log")
        served.serve()
        yield served
        served.stop()
