import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import protoquant
from protoquant.cli.main import app
from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, ProtoQuantError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.fetch import fetch_bundle
from protoquant.tracking.registry.mlflow_fetch import find
from tests.builders.bundles import flip
from tests.builders.versions import Made, add, files_of

pytestmark = pytest.mark.server

REPLACED = r"^{}: its bundle is not the one that was registered: digest {:.12}, its tag bundle_digest says {:.12}; "


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


@pytest.fixture
def run_id(store: Store, tmp_path: Path) -> str:
    """The run of version 1, ``birds@challenger``."""
    add(store, tmp_path / "model")
    return str(store.client.get_model_version("birds", "1").run_id)


@pytest.fixture
def here(with_store: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace is the current folder, as of a user who calls ``protoquant.load`` in it."""
    monkeypatch.chdir(with_store.root)


def uris(run_id: str) -> list[str]:
    return ["models:/birds@challenger", "models:/birds/1", f"runs:/{run_id}/model"]


def test_a_bundle_is_fetched_by_every_kind_of_uri(run_id: str, with_store: Workspace, tmp_path: Path, caplog: Any):
    registered = artifact_digest(tmp_path / "model" / "artifacts" / "bundle")
    for number, uri in enumerate(uris(run_id)):
        fetched = fetch_bundle(uri, workspace=with_store, into=tmp_path / f"into-{number}")
        assert artifact_digest(fetched.bundle) == fetched.tag == registered
        assert fetched.bundle.is_relative_to(tmp_path / f"into-{number}")
        assert fetched.weights is None
    assert caplog.text == ""


@pytest.mark.usefixtures("run_id")
def test_without_a_folder_the_bundle_lasts_as_long_as_the_process(with_store: Workspace):
    assert (fetch_bundle("models:/birds/1", workspace=with_store).bundle / "manifest.json").is_file()


def test_a_model_with_weights_of_its_own_brings_them(store: Store, with_store: Workspace, tmp_path: Path):
    (tmp_path / "model" / "artifacts").mkdir(parents=True)
    (tmp_path / "model" / "artifacts" / "own.safetensors").write_text("w")
    add(store, tmp_path / "model")
    fetched = fetch_bundle("models:/birds/1", workspace=with_store, into=tmp_path / "into")
    assert fetched.weights is not None
    assert fetched.weights.name == "own.safetensors"
    assert fetched.weights.read_text() == "w"


@pytest.mark.usefixtures("here")
def test_a_bundle_that_was_replaced_with_its_manifest_is_refused_by_its_tag(store: Store, run_id: str, tmp_path: Path):
    registered = artifact_digest(files_of(store, 1))
    planted = Made(wrong=9).write(files_of(store, 1))
    version, run = REPLACED.format("models:/birds/1", planted, registered), f"runs:/{run_id}/model"
    for uri in uris(run_id):
        said = REPLACED.format(run, planted, registered) if uri == run else version
        with pytest.raises(ArtifactError, match=said) as caught:
            protoquant.load(uri)
        assert "\n" not in str(caught.value)
        done = CliRunner().invoke(app, ["predict", str(tmp_path / "bird.png"), "-m", uri])
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert "perhaps by somebody who must not: restore them, or register the model again" in done.stderr


@pytest.mark.usefixtures("here")
def test_one_byte_of_a_tensor_is_refused_by_the_manifest(store: Store, run_id: str):
    flip(files_of(store, 1) / "tensors.safetensors")
    for uri in uris(run_id):
        with pytest.raises(ArtifactError, match=r"tensors\.safetensors is damaged: its bytes are not the ones"):
            protoquant.load(uri)


def test_a_version_without_the_tag_is_fetched_with_a_warning(
    store: Store, run_id: str, with_store: Workspace, caplog: pytest.LogCaptureFixture
):
    model_id = store.client.get_run(run_id).outputs.model_outputs[0].model_id
    store.client.delete_model_version_tag("birds", "1", "bundle_digest")
    store.client.delete_logged_model_tag(model_id, "bundle_digest")
    Made(wrong=9).write(files_of(store, 1))
    for uri in uris(run_id):
        caplog.clear()
        assert fetch_bundle(uri, workspace=with_store).bundle.is_dir()
        said = f"{uri} has no tag bundle_digest: whether its bundle was replaced cannot be told"
        assert caplog.record_tuples == [("protoquant.tracking.registry.fetch", logging.WARNING, said)]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/brids@challenger", r"no registered model 'brids' in .*; did you mean 'birds'\?; registered: birds$"),
        (
            "models:/birds@challenge",
            r"has no alias 'challenge' .* did you mean 'challenger'\?; .*challenger \(version 1\)",
        ),
        ("models:/birds/7", r"'birds' has no version 7 in .*; versions: 1$"),
        (f"runs:/{'0' * 32}/model", r"no run '0{32}' in "),
        ("models:/birds", r"expected models:/NAME@ALIAS, .*, got 'models:/birds'"),
        ("model:/birds/1", r"expected models:/NAME@ALIAS, .*, got 'model:/birds/1'"),
        ("models:/birds/latest", r"expected models:/NAME@ALIAS"),
    ],
)
@pytest.mark.usefixtures("run_id")
def test_a_uri_that_names_nothing_says_what_there_is(with_store: Workspace, uri: str, said: str):
    with pytest.raises(UsageError, match=said) as caught:
        fetch_bundle(uri, workspace=with_store)
    assert "\n" not in str(caught.value)


def test_a_run_without_that_model_names_the_models_it_has(store: Store, with_store: Workspace):
    run_id = store.client.create_run("0").info.run_id
    with pytest.raises(UsageError, match=rf"the run {run_id} has no model 'model' in .*; models: none"):
        fetch_bundle(f"runs:/{run_id}", workspace=with_store)


@pytest.mark.usefixtures("run_id")
def test_a_model_of_another_kind_is_told(store: Store, with_store: Workspace):
    shutil.rmtree(files_of(store, 1))
    with pytest.raises(UsageError, match="models:/birds/1 holds no ProtoQuant bundle, or its files are gone"):
        fetch_bundle("models:/birds/1", workspace=with_store)


def test_fetching_from_no_store_makes_none(workspace: Workspace):
    with pytest.raises(ProtoQuantError, match="no model registry at"):
        fetch_bundle("models:/birds/1", workspace=workspace)
    assert not (workspace.root / "mlflow.db").exists()


def test_of_several_models_of_a_run_the_last_of_the_name_is_meant() -> None:
    logged = {
        number: SimpleNamespace(name=name, artifact_location=f"place {number}", tags={"bundle_digest": str(number)})
        for number, name in enumerate(("model", "model", "other"))
    }
    outputs = SimpleNamespace(model_outputs=[SimpleNamespace(model_id=number) for number in logged])
    client = SimpleNamespace(get_run=lambda _: SimpleNamespace(outputs=outputs), get_logged_model=logged.__getitem__)
    found = find(Store(client, "here", None), "runs:/abc/model")
    assert (found.root, found.tag) == ("place 1", "1")
