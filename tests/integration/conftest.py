"""A whole small job under real DVC: a copy of the sources, a small partbirds spec, one run."""

import shutil
from pathlib import Path

import pytest

from tests.integration.job import Job

ROOT = Path(__file__).parents[2]
SMALL = {"classes": 4, "train": 8, "validation": 4, "test": 4}


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One run of the whole pipeline; tests that change it put it back or run last in their file."""
    root = tmp_path_factory.mktemp("job")
    for name in ("protoquant", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    job = Job(root)
    job.spec(**SMALL)
    job.run("git", "init", "-q")
    job.run("git", "add", "-A")
    job.run("git", "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-q", "-m", "start")
    job.run("dvc", "repro")
    return job
