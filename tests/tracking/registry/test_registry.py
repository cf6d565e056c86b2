from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput

from protoquant.core.artifacts import write_json
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.registry import create_version, find_version, point_alias

pytestmark = pytest.mark.server


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


def add(store: Store, folder: Path, *, digest: str = "b", name: str = "birds") -> str:
    """Log what a model's folder looks like, and register it."""
    experiment = experiment_id(store, name)
    run_id = store.client.create_run(experiment).info.run_id
    model = store.client.create_logged_model(experiment, name="model", source_run_id=run_id)
    bundle = folder / "artifacts" / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    write_json(bundle / "manifest.json", {"digest": digest})
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
    return str(model.model_id)


def test_a_version_is_found_by_its_bundle(store: Store, tmp_path: Path):
    add(store, tmp_path / "model", digest="one")
    add(store, tmp_path / "model", digest="two")
    assert int(find_version(store.client, "birds", "one").version) == 1
    assert int(find_version(store.client, "birds", "two").version) == 2
    assert find_version(store.client, "birds", "three") is None
    assert find_version(store.client, "fish", "one") is None


def test_a_version_whose_files_are_gone_is_not_found(store: Store, tmp_path: Path):
    model_id = add(store, tmp_path / "model")
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
