"""What all tests share: the lanes, the run's own folder, programs that start at once, one trained workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.lanes import (  # noqa: F401  hooks of pytest
    pytest_collection_modifyitems,
    pytest_runtest_logreport,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_terminal_summary,
    pytest_xdist_make_scheduler,
)
from tests.servers import ray_head
from tests.warm.programs import warm_programs
from tests.workspaces import Job, copy_of, train_once

os.environ["RAY_AUTH_MODE"] = "disabled"  # Ray reads it once for a process, and else goes by a file of the user's
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", max_examples=1000, deadline=None)  # make test-deep
hypothesis.settings.load_profile("quick")


torch.set_num_threads(1)  # tensors of tests are small: threads would only wait for each other


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread again after a test that has run a verb, which takes as many as params.yaml says."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """The folder of programs that start at once; the head of a command's PATH."""
    with warm_programs() as folder:
        yield folder


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray of two processors; one that a command starts for itself takes seconds each time."""
    with ray_head() as address:
        yield address


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch, ray_address: str) -> None:
    """This process may share its work with two of the Ray that is there, which import the package from here."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setattr("protoquant.distributed.cluster.cores", lambda: 2)


@pytest.fixture(scope="session")
def trained(run_folder: Path, programs: Path) -> Iterator[Path]:
    """The one small workspace that this test run trains under DVC; to be copied, never to be written."""
    made = train_once(run_folder, programs)
    yield made.root
    made.check()


@pytest.fixture(scope="module")
def job(trained: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A copy of the trained workspace for the tests of one file."""
    return copy_of(trained, tmp_path_factory.mktemp("job") / "clone", programs)
