import ast
import logging
import os
import sqlite3
from pathlib import Path

import pytest

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection import mlflow_api
from protoquant.tracking.connection import store as store_module
from protoquant.tracking.connection.address import TrackingUnavailableError
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.mlflow_api import MlflowClient, mlflow
from protoquant.tracking.connection.store import open_store

pytestmark = pytest.mark.server


def test_the_workspace_holds_the_store_where_no_server_is_named(with_store: Workspace):
    with open_store(with_store, create=False) as store:
        assert store.place == str(with_store.root / "mlflow.db")
        assert mlflow.get_tracking_uri() == f"sqlite:///{with_store.root}/mlflow.db"
        experiment = store.client.get_experiment(experiment_id(store, "birds"))
        assert experiment.artifact_location == (with_store.root / "mlruns").as_uri()
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_tools_own_variable_names_another_store(
    workspace: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store}")
    with open_store(workspace, create=False) as store:
        assert len(store.client.search_experiments()) >= 1
        assert store.artifacts == empty_store.parent / "mlruns"
        assert store.place == str(empty_store)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{empty_store}"
    assert not (workspace.root / "mlflow.db").exists()


def test_a_password_is_never_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://me:secret@host:1/x")
    with (
        pytest.raises(ProtoQuantError, match="MLflow at gopher://host:1/x refused") as caught,
        open_store(workspace, create=True) as store,
    ):
        store.client.search_experiments()
    assert "secret" not in str(caught.value)


def test_reading_makes_no_store(workspace: Workspace):
    with (
        pytest.raises(ProtoQuantError, match=r"no model registry at .*mlflow\.db; run the pipeline"),
        open_store(workspace, create=False),
    ):
        pass
    assert not (workspace.root / "mlflow.db").exists()


def test_a_damaged_store_is_told_at_once(workspace: Workspace):
    (workspace.root / "mlflow.db").write_text("this is no database at all")
    with pytest.raises(ProtoQuantError, match="is damaged: not a SQLite file"), open_store(workspace, create=True):
        pass


def test_a_refusal_of_mlflow_is_one_line(with_store: Workspace):
    with (
        pytest.raises(ProtoQuantError, match=r"refused: .*not found") as caught,
        open_store(with_store, create=False) as store,
    ):
        store.client.get_registered_model("nothing")
    assert "\n" not in str(caught.value)


def test_a_named_database_that_is_damaged_or_missing_is_told(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(ProtoQuantError, match=r"no model registry at .*other\.db"), open_store(workspace, create=False):
        pass
    (tmp_path / "other.db").write_text("this is no database at all")
    with pytest.raises(ProtoQuantError, match="is damaged: not a SQLite"), open_store(workspace, create=True):
        pass


def test_a_process_killed_while_it_makes_the_database_leaves_none(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def opened(*uri: str) -> MlflowClient:
        assert uri or (workspace.root / "mlflow.db").stat().st_size, "it was not made aside"
        return MlflowClient(*uri)

    monkeypatch.setattr(store_module, "MlflowClient", opened)
    # As far as such a process came: half the tables, aside.
    (workspace.root / "mlruns").mkdir()
    half = sqlite3.connect(workspace.root / "mlruns" / ".mlflow.db")
    half.execute("CREATE TABLE experiments (x INTEGER)")
    half.close()
    with open_store(workspace, create=True) as store:
        assert store.client.search_registered_models() == []
    assert not (workspace.root / "mlruns" / ".mlflow.db").exists()


def test_loggers_get_their_levels_back(with_store: Workspace):
    logger = logging.getLogger("alembic")
    logger.setLevel(logging.INFO)
    with open_store(with_store, create=False):
        assert logger.level == logging.ERROR
    assert logger.level == logging.INFO
    logger.setLevel(logging.NOTSET)


def test_mlflow_is_imported_after_its_settings():
    folder = Path(mlflow_api.__file__).parents[1]
    importing = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mlflow")
        or (isinstance(node, ast.Import) and any(name.name.partition(".")[0] == "mlflow" for name in node.names))
    }
    assert importing == {"mlflow_api.py", "pyfunc.py", "server.py"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"]


def test_a_server_that_is_down_is_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = r"MLflow at http://127\.0\.0\.1:9 does not answer \(Connection refused\); start it"
    with pytest.raises(TrackingUnavailableError, match=said) as caught, open_store(workspace, create=True) as store:
        store.client.search_experiments()
    assert len(str(caught.value)) < 300
    assert capfd.readouterr() == ("", "")
