"""A workspace whose six stages have run, a store of runs, and the environment without a server."""

import shutil
from pathlib import Path

import pytest

from protoquant.core.workspace import Workspace
from tests.builders.workspaces import write_workspace

MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MLFLOW_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it does not."""
    from protoquant.tracking.connection.store import open_store

    workspace = Workspace(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_VARIABLES:
            patch.delenv(name, raising=False)
        with open_store(workspace, create=True) as store:
            store.client.search_experiments()
    return workspace.root / "mlflow.db"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """What ``workspace`` is a copy of."""
    return write_workspace(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """Complete, but for the store; its path holds a space."""
    return Workspace(shutil.copytree(finished.root, tmp_path / "my birds"))


@pytest.fixture
def with_store(workspace: Workspace, empty_store: Path) -> Workspace:
    """A complete workspace with a store that holds nothing yet."""
    shutil.copy(empty_store, workspace.root / "mlflow.db")
    return workspace


@pytest.fixture
def small_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package without code beside the model's own file: hundreds of files take seconds to send."""
    from protoquant.tracking.registry import flavor

    package = tmp_path / "protoquant"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(flavor, "_PACKAGE", package)
