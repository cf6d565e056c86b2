"""A real MLflow that lets in nobody without a password."""

import re
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.server import get_app_client
from PIL import Image
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ProtoQuantError
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.address import UnknownUserError, check_tracking
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.promotion.promotion import promote
from protoquant.tracking.register import RegisterResult, register
from protoquant.tracking.registry.fetch import fetch_bundle
from protoquant.tracking.registry.versions import Named, champion_of
from protoquant.tracking.runs.pending import keep, pending
from protoquant.tracking.runs.report import fetch_report
from protoquant.tracking.runs.sync import sync
from protoquant.tracking.runs.trained_model import TrainedModel
from tests.builders.versions import NO_GIT, add
from tests.tracking.lossy import mlflow_server

pytestmark = pytest.mark.server

USER, PASSWORD, WRONG = "admin", "a-long-and-right-secret", "another-secret"
READER = "reader"
LINE = (
    "MLflow at {} does not let you in (HTTP 401): user or password is missing or wrong; source .stack/env where "
    "make stack-up started it, else set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, then try again"
)
SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""
SignIn = Callable[[str, str], None]


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with an administrator and a reader; ``birds`` has a version, a challenger."""
    folder = tmp_path_factory.mktemp("guarded")
    database, settings = folder / "server.db", folder / "auth.ini"
    database.write_bytes(empty_store.read_bytes())
    settings.write_text(SETTINGS.format(folder=folder, user=USER, password=PASSWORD))
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test"}
    with mlflow_server(folder, database, app="basic-auth", **secrets) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in variables(url, USER, PASSWORD).items():
            patch.setenv(name, value)
        get_app_client("basic-auth", url).create_user(READER, PASSWORD)
        with open_store(Workspace(folder), create=False) as store:
            add(store, folder / "model")
        yield url


def variables(url: str, user: str, password: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


@pytest.fixture
def sign_in(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignIn:
    """Set user and password for what follows; empty ones are none. No file of the user's home holds others."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def set_both(user: str, password: str) -> None:
        for name, value in variables(server, user, password).items():
            monkeypatch.setenv(name, value)

    set_both(USER, PASSWORD)
    return set_both


@pytest.fixture
def line(server: str) -> str:
    """What a user reads who is not let in."""
    return LINE.format(server)


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace, as the current folder."""
    monkeypatch.chdir(workspace.root)
    return workspace


@pytest.mark.usefixtures("small_package", "sign_in")
def test_with_the_password_a_model_is_registered_and_comes_back(workspace: Workspace, tmp_path: Path):
    check_tracking(workspace)
    config = RegisterConfig(name="wrens")
    done = register(config, workspace=workspace, params={"seed": 0}, on_event=ignore)
    assert isinstance(done, RegisterResult)
    fetched = fetch_bundle("models:/wrens@challenger", workspace=workspace, into=tmp_path / "into")
    assert artifact_digest(fetched.bundle) == artifact_digest(workspace.bundle) == fetched.tag
    assert (fetch_report(done.run_id, workspace=workspace, into=tmp_path) / "index.html").is_file()


@pytest.mark.usefixtures("sign_in")
def test_with_the_password_a_version_is_promoted(workspace: Workspace):
    with open_store(workspace, create=False) as store:
        given = {"gates": NO_GIT, "workspace": workspace, "root": lambda: workspace.root, "on_event": ignore}
        assert promote(store, Named.parse("birds"), **given).moved
        assert champion_of(store, "birds") == 1


@pytest.mark.parametrize("secret", [WRONG, ""])
@pytest.mark.parametrize(
    "words",
    [
        ("registry", "list"),
        ("registry", "promote", "models:/birds/1"),
        ("registry", "diff", "models:/birds/1", "models:/birds@challenger"),
        ("predict", "bird.png", "-m", "models:/birds/1"),
        ("predict", "bird.png", "-m", f"runs:/{'0' * 32}/model"),
        ("serve", "models:/birds@challenger", "--port", "0"),
        ("publish", "models:/birds/1", "s3://bucket/report"),
        ("config", "check"),
    ],
    ids=" ".join,
)
def test_without_it_every_verb_ends_with_one_line(
    sign_in: SignIn, words: tuple[str, ...], secret: str, line: str, here: Workspace
):
    Image.new("RGB", (8, 8)).save(here.root / "bird.png")
    here.params.write_text("prepare: {reader: image_folder, root: .}\n")
    sign_in(USER if secret else "", secret)
    done = CliRunner().invoke(app, words)
    told = [each for each in done.stderr.splitlines() if not each.startswith("{")]  # the service's log is JSON
    assert (done.exit_code, done.stdout, told) == (1, "", [f"error: {line}"])


@pytest.mark.usefixtures("small_package")
def test_register_says_so_keeps_nothing_and_can_be_repeated(sign_in: SignIn, line: str, workspace: Workspace):
    def call() -> Any:
        return register(RegisterConfig(name="robins"), workspace=workspace, params={"seed": 0}, on_event=ignore)

    sign_in(USER, WRONG)
    with pytest.raises(UnknownUserError, match=f"^{re.escape(line)}$"):
        call()
    assert pending(workspace) == []
    sign_in(USER, PASSWORD)
    assert call().version == 1


@pytest.mark.usefixtures("small_package")
def test_sync_says_so_once_and_what_is_kept_stays_kept(sign_in: SignIn, line: str, here: Workspace):
    for name in ("auks", "cranes"):
        keep(TrainedModel(here, name, "challenger", {"seed": "0"}))
    sign_in(USER, WRONG)
    done = CliRunner().invoke(app, ["tracking", "sync"])
    assert (done.exit_code, done.stderr) == (1, f"warning: 0 sent, 2 still kept\nerror: {line}\n")
    assert len(pending(here)) == 2
    sign_in(USER, PASSWORD)
    assert len(sync(here, redirect=False, on_event=ignore).sent) == 2
    assert pending(here) == []


def test_a_run_is_not_taken_for_missing(sign_in: SignIn, workspace: Workspace, tmp_path: Path):
    sign_in(USER, WRONG)
    with pytest.raises(UnknownUserError):
        fetch_report("0" * 32, workspace=workspace, into=tmp_path)
    with pytest.raises(UnknownUserError):
        fetch_bundle(f"runs:/{'0' * 32}/model", workspace=workspace, into=tmp_path)


def test_what_a_user_may_not_do_is_told_with_what_to_do(sign_in: SignIn, server: str, workspace: Workspace):
    sign_in(READER, PASSWORD)
    check_tracking(workspace)
    with pytest.raises(ProtoQuantError) as caught, open_store(workspace, create=False) as store:
        store.client.set_registered_model_alias("birds", "champion", "1")
    assert str(caught.value).startswith(f"MLflow at {server} refused: ")
    assert str(caught.value).endswith(
        "Response body: 'Permission denied'; ask for the permission, or set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD of a user who has it"
    )


def test_the_places_that_only_mlflows_client_knows_count_too(
    sign_in: SignIn, server: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sign_in("", "")
    with pytest.raises(UnknownUserError):
        check_tracking(workspace)
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text(f"[mlflow]\nmlflow_tracking_username = {USER}\nmlflow_tracking_password = {PASSWORD}\n")
    check_tracking(workspace)
    file.unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", f"//{USER}:{PASSWORD}@"))
    check_tracking(workspace)


def test_no_secret_is_shown_even_in_a_trace(
    sign_in: SignIn, server: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, programs: Path
):
    sign_in("", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", f"//{USER}:{WRONG}@"))
    call = [programs / "protoquant", "-v", "registry", "list"]
    done = subprocess.run(call, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "UnknownUserError: MLflow at http://127" in done.stderr
    assert WRONG not in done.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{WRONG}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ProtoQuantError) as caught, open_store(workspace, create=False) as store:
        store.client.search_experiments()
    assert WRONG not in "".join(traceback.format_exception(caught.value))
