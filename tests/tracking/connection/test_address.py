import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.address import (
    TrackingUnavailableError,
    check_tracking,
    database_file,
    tracking_uri,
    without_password,
)
from protoquant.tracking.connection.store import open_store


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Give the URL of a server that answers everything with one status."""
    servers = []

    def answer(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 (http.server)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_own_store_needs_no_answer(workspace: Workspace):
    assert tracking_uri(workspace) == f"sqlite:///{workspace.root}/mlflow.db"
    check_tracking(workspace)


@pytest.mark.parametrize("status", [200, 404])
def test_any_answer_of_a_server_is_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, answering: Callable[[int], str], status: int
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", answering(status))
    check_tracking(workspace)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not let you in (HTTP 401): user or password is missing or wrong; source .stack/env where make "),
        (403, "refused: API request to endpoint /api/2.0/mlflow/experiments/search failed with error code 403 != 200"),
    ],
)
def test_a_user_who_is_not_let_in_is_told_before_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, answering: Callable[[int], str], status: int, said: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url := answering(status))
    with pytest.raises(ProtoQuantError) as caught:
        check_tracking(workspace)
    assert str(caught.value).startswith(f"MLflow at {url} {said}")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_server_without_its_database_does_not_answer(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, answering: Callable[[int], str]
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url := answering(503))
    with pytest.raises(TrackingUnavailableError, match=rf"^MLflow at {url} does not answer \(HTTP 503\); start it"):
        check_tracking(workspace)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (
            "http://me:secret@127.0.0.1:9/x",
            r"^MLflow at http://127\.0\.0\.1:9/x does not answer \(Connection refused\)",
        ),
        (
            "postgresql+psycopg2://me:secret@127.0.0.1:9/x",
            r"^MLflow at postgresql\+psycopg2://127\.0\.0\.1:9/x does not",
        ),
        ("http://nowhere.invalid", r"^MLflow at http://nowhere\.invalid does not answer \(.*(not known|resolution)"),
        ("http://127.0.0.1:port", r"^MLflow at http://127\.0\.0\.1:port does not answer \(nonnumeric port: 'port'\)"),
    ],
)
def test_a_server_that_is_not_there_is_told_before_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingUnavailableError, match=said) as caught:
        check_tracking(workspace)
    assert "secret" not in str(caught.value)
    assert str(caught.value).endswith(
        "; start it (make stack-up), or unset MLFLOW_TRACKING_URI to keep runs in mlflow.db"
    )


def test_a_database_server_that_is_not_there_is_not_waited_for(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://me:secret@127.0.0.1:9/x")
    with pytest.raises(TrackingUnavailableError, match="Connection refused"), open_store(workspace, create=True):
        pass


@pytest.mark.process
def test_asking_imports_no_mlflow():
    asking = "protoquant.tracking.connection.address"
    code = f"import sys, {asking}; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////a b/mlflow.db", Path("/a b/mlflow.db")),
        ("sqlite:////a/x.db?timeout=9", Path("/a/x.db")),
        ("sqlite:///x.db", Path.cwd() / "x.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql://me@host/x", None),
        ("http://host", None),
    ],
)
def test_a_database_file_is_known_by_its_uri(uri: str, file: Path | None):
    assert database_file(uri) == file


def test_a_password_is_left_out():
    assert without_password("https://me:p@ss@host/x") == "https://host/x"
    assert without_password("postgresql://me:p/ss@host/x") == "postgresql://host/x"
    assert without_password("http://host:80/models/birds@champion") == "http://host:80/models/birds@champion"
    assert without_password("http://me:p@a/x failed; ask me@b") == "http://a/x failed; ask me@b"
