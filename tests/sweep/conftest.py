"""A small workspace whose features are there, for sweeps that really run."""

import shutil
from pathlib import Path

import pytest

from protoquant.params_file import override
from tests.integration.job import Job

ROOT = Path(__file__).parents[2]
SPACE = {"quantize.size": [1, 2], "train.temperature": [0.03, 0.1]}


def small_workspace(root: Path) -> Job:
    """Four classes of birds, extracted, and a sweep of four short trials."""
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy(ROOT / "params.yaml", root)
    job = Job(root)
    job.environment["PYTHONPATH"] = str(ROOT)
    job.environment.pop("RAY_ADDRESS", None)
    job.spec(classes=4, train=8, validation=4, test=4)
    fast = {"train.joint.epochs": 2, "train.budget.sizes": [1, 2], "sweep.space": SPACE}
    override(root / "params.yaml", fast, source="a test")
    job.run("protoquant", "prepare")
    job.run("protoquant", "extract")
    return job


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A workspace for all tests; each gives its sweeps names of their own."""
    return small_workspace(tmp_path_factory.mktemp("sweeps"))
