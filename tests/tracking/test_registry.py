from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput

from protoquant.core.artifacts import write_json
from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.registry import create_version, fetch_bundle, find_version, point_alias
from protoquant.tracking.store import Store, experiment_id, open_store


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


def add(
    store: Store, folder: Path, *, digest: str = "b", weights: bool = False, name: str = "birds"
) -> tuple[str, str]:
    """Log what a model's folder looks like, and register it."""
    experiment = experiment_id(store, name)
    run_id = store.client.create_run(experiment).info.run_id
    model = store.client.create_logged_model(experiment, name="model", source_run_id=run_id)
    bundle = folder / "artifacts" / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    write_json(bundle / "manifest.json", {"digest": digest})
    if weights:
        (folder / "artifacts" / "own.safetensors").write_text("w")
    store.client.log_model_artifacts(model.model_id, str(folder))
    store.client.finalize_logged_model(model.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    version = create_version(
        store.client,
        name,
        model_id=model.model_id,
        run_id=run_id,
        tags={"bundle_digest": digest},
        description="A sentence.",
    )
    assert version.description == "A sentence."
    return model.model_id, run_id


def test_a_version_is_found_by_its_bundle(store: Store, tmp_path: Path):
    add(store, tmp_path / "model", digest="one")
    add(store, tmp_path / "model", digest="two")
    assert int(find_version(store.client, "birds", "one").version) == 1
    assert int(find_version(store.client, "birds", "two").version) == 2
    assert find_version(store.client, "birds", "three") is None
    assert find_version(store.client, "fish", "one") is None


def test_a_version_whose_files_are_gone_is_not_found(store: Store, tmp_path: Path):
    model_id, _ = add(store, tmp_path / "model")
    for manifest in store.artifacts.rglob(f"{model_id}/artifacts/artifacts/bundle/manifest.json"):
        manifest.unlink()
    assert find_version(store.client, "birds", "b") is None


def test_an_alias_moves_once(store: Store, tmp_path: Path):
    add(store, tmp_path / "model")
    add(store, tmp_path / "model")
    assert point_alias(store.client, "birds", "challenger", 1)
    assert not point_alias(store.client, "birds", "challenger", 1)
    assert point_alias(store.client, "birds", "challenger", 2)
    assert int(store.client.get_model_version_by_alias("birds", "challenger").version) == 2


def test_a_bundle_is_fetched_by_every_kind_of_uri(store: Store, with_store: Workspace, tmp_path: Path):
    _, run_id = add(store, tmp_path / "model")
    point_alias(store.client, "birds", "challenger", 1)
    for number, uri in enumerate(["models:/birds@challenger", "models:/birds/1", f"runs:/{run_id}/model"]):
        fetched = fetch_bundle(uri, workspace=with_store, into=tmp_path / f"into-{number}")
        assert (fetched.bundle / "manifest.json").is_file()
        assert fetched.bundle.is_relative_to(tmp_path / f"into-{number}")
        assert fetched.weights is None


def test_without_a_folder_the_bundle_lasts_as_long_as_the_process(store: Store, with_store: Workspace, tmp_path: Path):
    add(store, tmp_path / "model")
    assert (fetch_bundle("models:/birds/1", workspace=with_store).bundle / "manifest.json").is_file()


def test_a_model_with_weights_of_its_own_brings_them(store: Store, with_store: Workspace, tmp_path: Path):
    add(store, tmp_path / "model", weights=True)
    fetched = fetch_bundle("models:/birds/1", workspace=with_store, into=tmp_path / "into")
    assert fetched.weights is not None
    assert fetched.weights.name == "own.safetensors"
    assert fetched.weights.read_text() == "w"


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
def test_a_uri_that_names_nothing_says_what_there_is(
    store: Store, with_store: Workspace, tmp_path: Path, uri: str, said: str
):
    add(store, tmp_path / "model")
    point_alias(store.client, "birds", "challenger", 1)
    with pytest.raises(UsageError, match=said) as caught:
        fetch_bundle(uri, workspace=with_store)
    assert "\n" not in str(caught.value)


def test_a_run_without_that_model_names_the_models_it_has(store: Store, with_store: Workspace):
    run_id = store.client.create_run("0").info.run_id
    with pytest.raises(UsageError, match=rf"the run {run_id} has no model 'model' in .*; models: none"):
        fetch_bundle(f"runs:/{run_id}", workspace=with_store)


def test_a_model_of_another_kind_is_told(store: Store, with_store: Workspace, tmp_path: Path):
    model_id, _ = add(store, tmp_path / "model")
    for manifest in store.artifacts.rglob(f"{model_id}/artifacts/artifacts/bundle/manifest.json"):
        manifest.unlink()
    with pytest.raises(UsageError, match="models:/birds/1 holds no ProtoQuant bundle, or its files are gone"):
        fetch_bundle("models:/birds/1", workspace=with_store)


def test_fetching_from_no_store_makes_none(workspace: Workspace):
    with pytest.raises(ProtoQuantError, match="no model registry at"):
        fetch_bundle("models:/birds/1", workspace=workspace)
    assert not (workspace.root / "mlflow.db").exists()
