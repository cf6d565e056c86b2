"""One Prefect server, one small clone and its runner for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.served import Served, prefect_server
from tests.workspaces import small_clone


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Served]:
    """A small clone whose flows are served."""
    folder = tmp_path_factory.mktemp("served")
    job = small_clone(folder / "clone", programs)
    with prefect_server(folder / "prefect") as variables:
        served = Served(job, variables, folder / "runner.log")
        served.serve()
        yield served
        served.stop()
