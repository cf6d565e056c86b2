"""A small workspace whose features are there, for sweeps that really run."""

from pathlib import Path

import pytest

from protoquant.settings.params_file import override
from tests.workspaces import Job, copy_of

SPACE = {"quantize.size": [1, 2], "train.temperature": [0.03, 0.1]}


def sweep_workspace(trained: Path, root: Path, programs: Path) -> Job:
    """A copy of the trained workspace with a sweep of four short trials, and a store that holds nothing yet."""
    job = copy_of(trained, root, programs)
    (root / "mlflow.db").unlink()
    override(root / "params.yaml", {"sweep.space": SPACE}, source="a test")
    return job


@pytest.fixture(scope="session")
def job(trained: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Job:
    """A workspace for all tests, on the Ray that is there; each gives its sweeps names of their own."""
    made = sweep_workspace(trained, tmp_path_factory.mktemp("sweeps") / "clone", programs)
    made.environment["RAY_ADDRESS"] = ray_address
    return made
