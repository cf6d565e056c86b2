"""A database file read by hand, beside MLflow's client on the same store."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow.entities import LoggedModelOutput

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.fetch import fetch_bundle
from protoquant.tracking.registry.mlflow_fetch import fetch_from
from protoquant.tracking.registry.source import Fetched
from protoquant.tracking.registry.sqlite_fetch import fetch_from_file
from tests.builders.versions import Made, add, files_of
from tests.tracking.conftest import MLFLOW_VARIABLES

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def birds(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three versions of birds, the second with two aliases, and wrens with weights of their own."""
    root, models = tmp_path_factory.mktemp("my birds"), tmp_path_factory.mktemp("models")
    shutil.copy(empty_store, root / "mlflow.db")
    (models / "own" / "artifacts").mkdir(parents=True)
    (models / "own" / "artifacts" / "own.safetensors").write_text("w")
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_VARIABLES:
            patch.delenv(name, raising=False)
        with open_store(Workspace(root), create=False) as store:
            for number in range(3):
                add(store, models / str(number), Made(wrong=number))
            for alias in ("champion", "old"):
                store.client.set_registered_model_alias("birds", alias, "2")
            add(store, models / "own", name="wrens")
    return root


@pytest.fixture
def with_birds(birds: Path, tmp_path: Path) -> Workspace:
    """A copy of that store, with files of its own."""
    root = tmp_path / "my birds"
    shutil.copytree(birds, root)
    places = quote(str(birds)), quote(str(root))
    change(Workspace(root), "UPDATE model_versions SET storage_location = replace(storage_location, ?, ?)", *places)
    change(Workspace(root), "UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)", *places)
    return Workspace(root)


@pytest.fixture
def store(with_birds: Workspace) -> Iterator[Store]:
    with open_store(with_birds, create=False) as opened:
        yield opened


def change(workspace: Workspace, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(workspace.root / "mlflow.db")) as tables, tables:
        tables.execute(statement, values)


def run_of(store: Store, name: str, version: int) -> str:
    return str(store.client.get_model_version(name, str(version)).run_id)


def by_file(uri: str, workspace: Workspace, into: Path) -> Fetched | None:
    return fetch_from_file(uri, workspace=workspace, into=into)


def told(fetched: Fetched, into: Path) -> tuple[Any, ...]:
    """Everything that was fetched: tag, names and bytes."""
    places = [fetched.bundle, *([fetched.weights] if fetched.weights else [])]
    assert all(place.is_relative_to(into) for place in places)
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    names = {file.relative_to(fetched.bundle.parent).as_posix(): file.read_bytes() for file in files}
    return fetched.tag, names, fetched.weights and fetched.weights.name


def test_both_fetch_the_same_by_every_kind_of_uri(store: Store, with_birds: Workspace, tmp_path: Path) -> None:
    uris = [f"models:/birds@{alias}" for alias in ("challenger", "champion", "old")]
    uris += [f"models:/birds/{number}" for number in (1, 2, 3)] + ["models:/birds/02", "models:/wrens/1"]
    runs = [run_of(store, "birds", 1), run_of(store, "wrens", 1)]
    uris += [f"runs:/{run}{rest}" for run in runs for rest in ("", "/", "/model")]
    for place, uri in enumerate(uris):
        here, there = tmp_path / f"file-{place}", tmp_path / f"client-{place}"
        read = by_file(uri, with_birds, here)
        assert read is not None, uri
        assert told(read, here) == told(fetch_from(store, uri, into=there), there), uri


def test_without_a_tag_both_say_so(store: Store, with_birds: Workspace, tmp_path: Path) -> None:
    store.client.delete_model_version_tag("birds", "1", "bundle_digest")
    read = by_file("models:/birds/1", with_birds, tmp_path / "file")
    assert read is not None
    assert read.tag is None
    assert fetch_from(store, "models:/birds/1", into=tmp_path / "client").tag is None


def test_both_refuse_a_bundle_that_was_replaced_in_the_same_words(
    store: Store, with_birds: Workspace, tmp_path: Path
) -> None:
    Made(wrong=9).write(files_of(store, 1))
    for uri in ("models:/birds/1", f"runs:/{run_of(store, 'birds', 1)}/model"):
        with pytest.raises(ProtoQuantError) as client:
            fetch_from(store, uri, into=tmp_path / "client")
        with pytest.raises(type(client.value), match=re.escape(str(client.value))):
            by_file(uri, with_birds, tmp_path / "file")


def test_both_fetch_from_a_project_that_was_moved(with_birds: Workspace, tmp_path: Path) -> None:
    now = Workspace(with_birds.root.rename(tmp_path / "moved birds"))
    read = by_file("models:/birds@champion", now, tmp_path / "file")
    assert read is not None
    with open_store(now, create=False) as store:
        asked = fetch_from(store, "models:/birds@champion", into=tmp_path / "client")
        assert told(read, tmp_path / "file") == told(asked, tmp_path / "client")


def move_files(workspace: Workspace) -> None:
    shutil.move(workspace.root / "mlruns", workspace.root / "elsewhere")


def keep_elsewhere(workspace: Workspace) -> None:
    change(workspace, "UPDATE model_versions SET storage_location = 's3://bucket/model' WHERE version = 1")
    change(workspace, "UPDATE logged_models SET artifact_location = 's3://bucket/model'")


def later_tables(workspace: Workspace) -> None:
    change(workspace, "UPDATE alembic_version SET version_num = 'another'")


def other_workspace(workspace: Workspace) -> None:
    change(workspace, "UPDATE model_versions SET workspace = 'other'")
    change(workspace, "DELETE FROM inputs")


@pytest.mark.parametrize("amiss", [move_files, keep_elsewhere, later_tables, other_workspace])
def test_what_is_amiss_is_left_to_the_client(
    with_birds: Workspace, tmp_path: Path, amiss: Callable[[Workspace], None]
) -> None:
    with closing(sqlite3.connect(with_birds.root / "mlflow.db")) as tables:
        ((run,),) = tables.execute("SELECT run_id FROM model_versions WHERE name = 'birds' AND version = 1")
    uris = ["models:/birds/1", f"runs:/{run}/model"]
    assert all(by_file(uri, with_birds, tmp_path / "before") for uri in uris)
    amiss(with_birds)
    assert [by_file(uri, with_birds, tmp_path / "after") for uri in uris] == [None, None]


def test_what_is_not_there_is_left_to_the_client(store: Store, with_birds: Workspace, tmp_path: Path) -> None:
    store.client.delete_model_version("birds", "1")
    store.client.delete_logged_model(store.client.get_run(run_of(store, "birds", 2)).outputs.model_outputs[0].model_id)
    absent = ["models:/birds/1", "models:/birds/9", f"models:/birds/{10**30}", "models:/birds@none", "models:/brids/2"]
    absent += ["models:/birds@latest", f"runs:/{'0' * 32}/model", f"runs:/{run_of(store, 'birds', 2)}/model"]
    absent += [f"runs:/{run_of(store, 'birds', 3)}/other"]
    assert [by_file(uri, with_birds, tmp_path / "into") for uri in absent] == [None] * len(absent)


def test_of_several_models_of_a_run_the_client_chooses(store: Store, with_birds: Workspace, tmp_path: Path) -> None:
    run = run_of(store, "birds", 1)
    second = store.client.get_run(run_of(store, "birds", 2)).outputs.model_outputs[0].model_id
    store.client.log_outputs(run, [LoggedModelOutput(second, step=0)])
    assert by_file(f"runs:/{run}/model", with_birds, tmp_path / "into") is None


@pytest.mark.parametrize("name", ["MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES"])
def test_where_models_may_be_elsewhere_the_client_is_asked(
    with_birds: Workspace, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "true")
    assert by_file("models:/birds/1", with_birds, tmp_path / "into") is None


def test_a_file_that_the_environment_names_is_read_and_a_server_is_not(
    with_birds: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Workspace(tmp_path / "nothing here")
    assert by_file("models:/birds/1", elsewhere, tmp_path / "into") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{with_birds.root / 'mlflow.db'}")
    assert by_file("models:/birds/1", elsewhere, tmp_path / "into") is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert by_file("models:/birds/1", with_birds, tmp_path / "into") is None


def test_a_file_that_another_process_holds_is_left_to_the_client_which_waits(
    with_birds: Workspace, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(with_birds.root / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert by_file("models:/birds/1", with_birds, tmp_path / "into") is None
    assert by_file("models:/birds/1", with_birds, tmp_path / "into") is not None


@pytest.mark.process
def test_reading_changes_nothing_and_imports_no_mlflow(store: Store, with_birds: Workspace, tmp_path: Path) -> None:
    before = (with_birds.root / "mlflow.db").read_bytes()
    script = (
        "import json, sys; from pathlib import Path; from protoquant.core.workspace import Workspace\n"
        "from protoquant.tracking.registry.fetch import fetch_bundle\n"
        "fetched = fetch_bundle('models:/birds@champion', workspace=Workspace(Path.cwd()), into=Path(sys.argv[1]))\n"
        "come = {'mlflow', 'sqlalchemy', 'pandas', 'torch'} & set(sys.modules)\n"
        "print(json.dumps([str(fetched.bundle), sorted(come)]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "into")]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=with_birds.root, env=environment, capture_output=True, text=True, check=True)
    bundle, come = json.loads(done.stdout)
    assert come == []
    assert artifact_digest(Path(bundle)) == artifact_digest(files_of(store, 2))
    assert (with_birds.root / "mlflow.db").read_bytes() == before


def test_the_tables_of_the_mlflow_that_is_installed_are_known(with_birds: Workspace, tmp_path: Path) -> None:
    """Where this fails after a change of MLflow: see that the columns still mean the same, then name its schema."""
    assert by_file("models:/birds/1", with_birds, tmp_path / "into") is not None
    assert fetch_bundle("models:/birds/1", workspace=with_birds, into=tmp_path / "again").bundle.is_dir()
