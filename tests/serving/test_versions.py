import gc
import shutil
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mlflow.entities import LoggedModelOutput
from starlette.testclient import TestClient

import protoquant
from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.serving.config import ServeConfig
from protoquant.serving.service import create_app
from protoquant.serving.versions import FolderSource, RegistrySource, Versions, source_of
from tests.builders.pictures import encoded

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
RAW = {"Content-Type": "application/octet-stream"}


def test_a_folder_is_served_under_its_digest(bundles) -> None:
    versions = Versions(FolderSource(bundles[0], CPU), every=1.0)
    assert versions.current() is None
    served = versions.load()
    assert versions.current() is served
    assert (served.name, served.version) == ("bundle", served.model.bundle.digest[:12])
    assert not FolderSource(bundles[0], CPU).moves


def test_a_dead_source_is_told_at_once(tmp_path) -> None:
    with pytest.raises(ArtifactError, match="bundle"):
        Versions(FolderSource(tmp_path / "bundle", CPU), every=1.0).load()


def test_a_moved_alias_changes_the_model_and_an_unmoved_does_not(shelf, versions) -> None:
    assert not versions.look()
    shelf.at = "two"
    assert versions.look()
    assert versions.current().version == "2"
    assert shelf.asked == ["one", "two"]


def test_a_version_that_cannot_be_loaded_leaves_the_old_and_is_tried_less_and_less(shelf, versions, caplog) -> None:
    shelf.at = "broken"
    failures = []
    versions.on_failure = lambda: failures.append(1)
    tried = []
    for _ in range(12):
        before = len(shelf.asked)
        assert not versions.look()
        tried.append(len(shelf.asked) > before)
    assert versions.current().version == "1"
    assert tried == [True, False, True, False, False, True, False, False, False, False, True, False]
    assert len(failures) == 4
    assert "broken cannot be loaded, the old version stays in use: broken is damaged" in caplog.text
    shelf.at = "two"
    assert versions.look()


def test_a_version_that_stays_broken_is_tried_every_65th_look_at_least(shelf, versions) -> None:
    shelf.at = "broken"
    asked = []
    for look in range(400):
        before = len(shelf.asked)
        versions.look()
        asked += [look] if len(shelf.asked) > before else []
    apart = [later - earlier for earlier, later in pairwise(asked)]
    assert apart == [2, 3, 5, 9, 17, 33, *[65] * 5]


class Fetching:
    """Stands in for the registry and the reader of bundles; notes what they are asked for."""

    def __init__(self, monkeypatch, bundle: Path) -> None:
        self.uris, self.folders, self.weights, self.broken = [], [], [], False
        self.fetched = SimpleNamespace(bundle=bundle, weights=Path("of-the-registry"))
        monkeypatch.setattr("protoquant.tracking.registry.fetch.fetch_bundle", self.fetch)
        monkeypatch.setattr("protoquant.serving.versions.Model", SimpleNamespace(load=self.load))

    def fetch(self, uri, *, workspace, into):
        self.uris.append(uri)
        self.folders.append(into)
        return self.fetched

    def load(self, bundle, device, weights):
        self.weights.append(weights)
        if self.broken:
            raise ArtifactError("damaged")
        return Loaded()


class Loaded:
    bundle = SimpleNamespace(digest="d" * 64)


def test_what_is_loaded_is_the_version_that_was_seen_wherever_the_alias_is_now(monkeypatch, tmp_path) -> None:
    fetching = Fetching(monkeypatch, tmp_path)
    source = RegistrySource("models:/birds@champion", Workspace(tmp_path), CPU)
    served = source.load("models:/birds/7")
    assert (fetching.uris, served.name, served.version) == (["models:/birds/7"], "birds", "7")
    assert fetching.weights == [Path("of-the-registry")]
    RegistrySource("runs:/abc/model", Workspace(tmp_path), CPU, Path("mine")).load("/where/the/run/is")
    assert fetching.uris[1:] == ["runs:/abc/model"]
    assert fetching.weights[1:] == [Path("mine")], "the command line goes first"


def test_a_version_that_cannot_be_loaded_leaves_no_folder(monkeypatch, tmp_path) -> None:
    fetching = Fetching(monkeypatch, tmp_path)
    fetching.broken = True
    with pytest.raises(ArtifactError, match="damaged"):
        RegistrySource("models:/birds/1", Workspace(tmp_path), CPU).load("models:/birds/1")
    (folder,) = fetching.folders
    assert not folder.exists()


def test_a_registry_that_is_away_changes_nothing(shelf, versions, monkeypatch) -> None:
    monkeypatch.setattr(shelf, "place", lambda: 1 / 0)
    assert not versions.look()
    assert versions.current().version == "1"


def test_requests_at_work_end_on_the_model_they_began_with(shelf, versions, models, monkeypatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    computing = models[0].model.answer_pixels

    def held(*arguments: object) -> object:
        entered.set()
        assert go_on.wait(20)
        return computing(*arguments)

    monkeypatch.setattr(models[0].model, "answer_pixels", held)
    with TestClient(create_app(versions, ServeConfig(), workers=2)) as client:
        found = []
        asking = threading.Thread(
            target=lambda: found.append(client.post("/predict", content=encoded(1), headers=RAW).json())
        )
        asking.start()
        assert entered.wait(20)
        shelf.at = "two"
        assert versions.look()
        new = client.post("/predict", content=encoded(1), headers=RAW).json()
        go_on.set()
        asking.join()
    (old,) = found
    assert (old["model"]["version"], new["model"]["version"]) == ("1", "2")
    assert new["answers"][0]["logit"] == pytest.approx(2 * old["answers"][0]["logit"], abs=1e-4)


def test_the_thread_follows_a_source_that_moves(shelf, models) -> None:
    versions, moved = Versions(shelf, every=0.01), threading.Event()
    versions.load()
    versions.on_change = lambda _: moved.set()
    versions.start()
    try:
        shelf.at = "two"
        assert moved.wait(20)
    finally:
        versions.stop()
    assert versions.current() is models[1]


@pytest.mark.parametrize(
    ("text", "kind", "moves"),
    [
        ("models:/birds@champion", RegistrySource, True),
        ("models:/birds/3", RegistrySource, False),
        ("runs:/abc/model", RegistrySource, False),
        ("artifacts/bundle", FolderSource, False),
    ],
)
def test_what_a_command_line_names(text: str, kind: type, moves: bool) -> None:
    found = source_of(text, CPU)
    assert isinstance(found, kind)
    assert found.moves == moves


@pytest.fixture
def registered(bundles, weights, tmp_path, monkeypatch) -> Workspace:
    """Both bundles as versions, with the weights beside the second; the first is champion."""
    from protoquant.tracking.connection.experiments import experiment_id
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.registry.registry import create_version

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(tmp_path)
    with open_store(workspace, create=True) as store:
        experiment = experiment_id(store, "birds")
        for number, bundle in enumerate(bundles):
            run = store.client.create_run(experiment).info.run_id
            model = store.client.create_logged_model(experiment, name="model", source_run_id=run)
            folder = tmp_path / str(number)
            (folder / "artifacts").mkdir(parents=True)
            shutil.copytree(bundle, folder / "artifacts" / "bundle")
            if number:
                shutil.copy(weights, folder / "artifacts" / "own.safetensors")
            store.client.log_model_artifacts(model.model_id, str(folder))
            store.client.finalize_logged_model(model.model_id, "READY")
            store.client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
            tags = {"bundle_digest": artifact_digest(bundle)}
            create_version(store.client, "birds", model_id=model.model_id, run_id=run, tags=tags, description="x")
    point(workspace, 1)
    return workspace


def point(workspace: Workspace, version: int) -> None:
    from protoquant.tracking.connection.store import open_store

    with open_store(workspace, create=False) as store:
        store.client.set_registered_model_alias("birds", "champion", str(version))


def files_of(workspace: Workspace, version: int) -> Path:
    """The folder with bundle and weights of a version."""
    from protoquant.tracking.connection.store import open_store

    with open_store(workspace, create=False) as store:
        source = store.client.get_model_version("birds", str(version)).source
    (found,) = (workspace.root / "mlruns").rglob(f"{source.removeprefix('models:/')}/artifacts/artifacts")
    return found


def test_an_alias_of_a_real_registry_is_followed(registered) -> None:
    workspace = registered
    versions = Versions(RegistrySource("models:/birds@champion", workspace, CPU), every=3600.0)
    versions.load()
    served = versions.current()
    assert (served.name, served.version) == ("birds", "1")
    folder = served.model.bundle.path
    assert not versions.look()
    point(workspace, 2)
    assert versions.look()
    assert versions.current().version == "2"
    assert Path(folder).is_dir()
    del served
    gc.collect()
    assert not Path(folder).exists()
    with pytest.raises(UsageError, match="no registered model 'bird'"):
        Versions(RegistrySource("models:/bird@champion", workspace, CPU), every=1.0).load()


def test_a_version_whose_bundle_was_replaced_leaves_the_old_in_use(registered, bundles, caplog) -> None:
    versions, failures = Versions(RegistrySource("models:/birds@champion", registered, CPU), every=3600.0), []
    versions.on_failure = lambda: failures.append(1)
    versions.load()
    planted = files_of(registered, 2) / "bundle"
    shutil.rmtree(planted)
    shutil.copytree(bundles[0], planted)
    point(registered, 2)
    assert not versions.look()
    assert (versions.current().version, failures) == ("1", [1])
    said = "models:/birds/2 cannot be loaded, the old version stays in use: models:/birds/2: its bundle is not the one "
    assert said + "that was registered" in caplog.text
    with pytest.raises(ArtifactError, match="models:/birds/2: its bundle is not the one that was registered"):
        Versions(RegistrySource("models:/birds/2", registered, CPU), every=1.0).load()


def test_weights_that_were_replaced_beside_the_bundle_are_refused(registered, monkeypatch) -> None:
    monkeypatch.chdir(registered.root)
    assert protoquant.load("models:/birds/2", device="cpu").backbone.spec.name == "test_convnext"
    file = files_of(registered, 2) / "own.safetensors"
    held = bytearray(file.read_bytes())
    held[-1] ^= 1
    file.write_bytes(held)
    said = "the weights of test_convnext are not those that made the features: expected digest"
    with pytest.raises(ArtifactError, match=said):
        protoquant.load("models:/birds/2", device="cpu")
    with pytest.raises(ArtifactError, match=said):
        Versions(RegistrySource("models:/birds/2", registered, CPU), every=1.0).load()
