import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError
from protoquant.core.events import Event
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.mlflow_api import Run
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.register import (
    RegisterResult,
    _follow_commit,
    _logged_model,
    _without_sent,
    described,
    register,
)
from protoquant.tracking.registry.fetch import fetch_bundle
from protoquant.tracking.registry.registry import model_of
from protoquant.tracking.runs.measurements import HeadlineMetrics
from protoquant.tracking.runs.pending import keep
from protoquant.tracking.runs.trained_model import TrainedModel
from tests.builders.bundles import flip
from tests.builders.workspaces import evaluate, train

pytestmark = pytest.mark.process

PARAMS = {"seed": 0, "train": {"temperature": [0.03, 0.05]}}
CONFIG = RegisterConfig(name="birds")


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def run(workspace: Workspace, config: RegisterConfig = CONFIG, **params: Any) -> tuple[RegisterResult, list[str]]:
    told: list[Event] = []
    result = register(config, workspace=workspace, params={**PARAMS, **params}, on_event=told.append)
    return result, [event.text for event in told]


@contextmanager
def reading(workspace: Workspace) -> Iterator[Store]:
    with open_store(workspace, create=False) as store:
        yield store


def runs(workspace: Workspace) -> list[Run]:
    with reading(workspace) as store:
        return list(store.client.search_runs([experiment_id(store, "birds")]))


def kill_at(patch: pytest.MonkeyPatch, name: str) -> None:
    """End the step where it calls a function, leaving the run as a killed process leaves it."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    patch.setattr(f"protoquant.tracking.register.{name}", killed)
    patch.setattr("protoquant.tracking.runs.runs.MlflowClient.set_terminated", lambda *_, **__: None)


def test_a_model_is_registered_once(with_store: Workspace):
    first, told = run(with_store)
    assert first == RegisterResult("birds", 1, "challenger", first.run_id, already=False)
    assert told[-1] == "birds@challenger: registered as version 1"
    assert "Top-1 accuracy on test 0.9000" in told[0]
    assert told[1].endswith("index.html")
    again, told = run(with_store)
    assert again == RegisterResult("birds", 1, "challenger", first.run_id, already=True)
    assert told[-1] == "birds@challenger: already registered as version 1"
    assert len(runs(with_store)) == 1


def test_the_run_and_the_version_say_where_the_model_comes_from(with_store: Workspace):
    result, _ = run(with_store)
    with reading(with_store) as store:
        version = store.client.get_model_version("birds", "1")
        held = store.client.get_run(result.run_id)
        model = store.client.get_logged_model(model_of(version))
    assert version.run_id == result.run_id
    assert version.tags["bundle_digest"] == artifact_digest(with_store.bundle)
    assert version.tags["data_digest"] == artifact_digest(with_store.images)
    assert version.tags["weight_digest"] == "a" * 64
    assert version.tags["test_accuracy"] == "0.9000"
    assert version.tags["validation_accuracy"] == "0.8750"
    assert version.description.startswith("9 prototypes, 2.5 per class. Top-1 accuracy on test 0.9000 [0.8000, 0.9500]")
    assert held.info.status == "FINISHED"
    assert held.data.params == {"seed": "0", "train.temperature": "[0.03, 0.05]"}
    assert held.data.metrics["evaluate.test.top1.value"] == 0.9
    for tags in (held.data.tags, model.tags):
        assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("protoquant register", "LOCAL")
        assert tags.get("mlflow.source.git.commit", "none") == version.tags["git_commit"]
    splits = [(one.dataset.digest, one.dataset.profile, one.tags[0].value) for one in held.inputs.dataset_inputs]
    assert sorted(splits, key=lambda split: split[2]) == [
        (artifact_digest(with_store.images / split)[:12], '{"images": 3, "classes": 3}', split)
        for split in ("test", "train", "validation")
    ]


def test_a_version_is_of_the_commit_that_came_after_it(with_store: Workspace, monkeypatch: pytest.MonkeyPatch):
    states = {"git_commit": "a" * 40, "git_dirty": "true"}
    monkeypatch.setattr("protoquant.tracking.runs.lineage.git_state", lambda _: tuple(states.values()))
    run(with_store)
    assert not [text for text in run(with_store)[1] if "is of commit" in text]
    states.update(git_commit="b" * 40, git_dirty="false")
    assert "birds: version 1 is of commit bbbbbbbbbbbb now" in run(with_store)[1]
    with reading(with_store) as store:
        tags = store.client.get_model_version("birds", "1").tags
    assert (tags["git_commit"], tags["git_dirty"]) == ("b" * 40, "false")
    states.update(git_commit="c" * 40)
    assert not [text for text in run(with_store)[1] if "is of commit" in text]


def test_the_description_leads_to_the_report():
    numbers = HeadlineMetrics(9, 2.5, 0.875, 0.9, 0.8, 0.95, 40, 0.95)
    page = described(numbers, "http://127.0.0.1:5000", "7", "abc")
    report = "http://127.0.0.1:5000/#/experiments/7/runs/abc/artifacts/report/index.html?workflowType=machine_learning"
    assert page.endswith(f"[Report]({report})")
    assert described(numbers, "sqlite:///mlflow.db", "7", "abc").endswith("Report: runs:/abc/report")


def test_what_is_registered_is_the_bundle_without_pickles(with_store: Workspace, tmp_path: Path):
    result, _ = run(with_store)
    for uri in ("models:/birds@challenger", f"runs:/{result.run_id}/model"):
        fetched = fetch_bundle(uri, workspace=with_store, into=tmp_path / uri.partition(":")[0])
        assert artifact_digest(fetched.bundle) == artifact_digest(with_store.bundle)
        assert fetched.weights is None
    names = [path.name for path in (with_store.root / "mlruns").rglob("*") if path.is_file()]
    assert "pyfunc.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc"))]


def test_weights_from_a_file_go_with_the_model(with_store: Workspace, tmp_path: Path):
    (with_store.root / "mine.safetensors").write_text("weights")
    train(with_store, weights="mine.safetensors")
    run(with_store)
    fetched = fetch_bundle("models:/birds/1", workspace=with_store, into=tmp_path / "into")
    assert fetched.weights is not None
    assert fetched.weights.read_text() == "weights"


def test_weights_that_are_missing_are_named(with_store: Workspace):
    train(with_store, weights="mine.safetensors")
    with pytest.raises(ArtifactError, match=r"my birds/mine\.safetensors is missing; put the file back"):
        run(with_store)
    assert [held.info.status for held in runs(with_store)] == ["FAILED"]


def test_a_moved_workspace_keeps_what_is_registered(with_store: Workspace, tmp_path: Path):
    run(with_store)
    moved = Workspace(with_store.root.rename(tmp_path / "moved"))
    again, _ = run(moved)
    assert (again.version, again.already) == (1, True)
    assert fetch_bundle("models:/birds@challenger", workspace=moved, into=tmp_path / "into").bundle.is_dir()
    assert not with_store.root.exists()


def test_another_bundle_is_another_version_and_run(with_store: Workspace):
    first, _ = run(with_store)
    train(with_store, seed=1)
    second, _ = run(with_store)
    assert (second.version, second.already) == (2, False)
    assert second.run_id != first.run_id
    train(with_store)
    back, told = run(with_store)
    assert (back.version, back.already, back.run_id) == (1, True, first.run_id)
    assert told[-1] == "birds@challenger: already registered as version 1, the alias is new"


def test_a_lost_alias_is_set_again(with_store: Workspace):
    run(with_store)
    with reading(with_store) as store:
        store.client.delete_registered_model_alias("birds", "challenger")
    assert run(with_store)[0].already
    with reading(with_store) as store:
        assert int(store.client.get_model_version_by_alias("birds", "challenger").version) == 1


def test_a_registry_that_has_lost_the_version_gets_it_again_from_the_same_run(with_store: Workspace):
    first, _ = run(with_store)
    with reading(with_store) as store:
        store.client.delete_registered_model("birds")
    again, _ = run(with_store)
    assert (again.version, again.already, again.run_id) == (1, False, first.run_id)
    assert len(list((with_store.root / "mlruns" / "models").iterdir())) == 1


def test_a_store_that_has_lost_the_files_gets_them_again(with_store: Workspace, tmp_path: Path):
    run(with_store)
    shutil.rmtree(with_store.root / "mlruns")
    again, _ = run(with_store)
    assert (again.version, again.already) == (2, False)
    fetched = fetch_bundle("models:/birds@challenger", workspace=with_store, into=tmp_path / "into")
    assert artifact_digest(fetched.bundle) == artifact_digest(with_store.bundle)


def test_a_lost_store_is_made_again(with_store: Workspace, empty_store: Path):
    run(with_store)
    shutil.copy(empty_store, with_store.root / "mlflow.db")
    assert not run(with_store)[0].already


@pytest.mark.parametrize("where", ["log_params", "log_measurements", "log_model", "create_version", "point_alias"])
def test_a_killed_call_is_made_good_by_the_next(with_store: Workspace, where: str):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, where)
        with pytest.raises(Killed):
            run(with_store)
    (left,) = runs(with_store)
    result, _ = run(with_store)
    assert (result.version, result.already) == (1, where == "point_alias")
    (held,) = runs(with_store)
    assert held.info.run_id == left.info.run_id == result.run_id
    if where != "point_alias":
        assert held.info.status == "FINISHED"
    assert len(list((with_store.root / "mlruns" / "models").iterdir())) == 1
    with reading(with_store) as store:
        assert int(store.client.get_model_version_by_alias("birds", "challenger").version) == 1


def test_a_new_evaluation_of_the_same_bundle_is_followed(with_store: Workspace):
    first, _ = run(with_store)
    evaluate(with_store, 0.7)
    again, told = run(with_store)
    assert (again.version, again.already) == (1, True)
    assert told[0] == "birds: version 1 was evaluated anew; its numbers are up to date"
    with reading(with_store) as store:
        version = store.client.get_model_version("birds", "1")
        assert version.tags["test_accuracy"] == "0.7000"
        assert "Top-1 accuracy on test 0.7000" in version.description
        held = store.client.get_run(first.run_id)
        model = store.client.get_logged_model(model_of(version))
    assert held.data.metrics["evaluate.test.top1.value"] == 0.7
    assert len(held.inputs.dataset_inputs) == 3
    assert model.tags["test_accuracy"] == "0.7000"
    measured = [one for one in model.metrics if one.key == "evaluate.test.top1.value"]
    assert [one.value for one in sorted(measured, key=lambda one: one.timestamp)] == [0.9, 0.7]
    assert run(with_store)[1][-1] == "birds@challenger: already registered as version 1"


def test_the_numbers_of_another_bundle_are_refused(with_store: Workspace, tmp_path: Path):
    shutil.copytree(with_store.evaluation, tmp_path / "old")
    train(with_store, seed=1)
    shutil.rmtree(with_store.evaluation)
    shutil.copytree(tmp_path / "old", with_store.evaluation)
    with pytest.raises(ArtifactError, match=r"evaluation was made from another bundle; run the pipeline"):
        run(with_store)


def test_numbers_that_the_report_does_not_show_are_refused(with_store: Workspace, tmp_path: Path):
    shutil.copytree(with_store.report, tmp_path / "old")
    evaluate(with_store, 0.99)
    shutil.rmtree(with_store.report)
    shutil.copytree(tmp_path / "old", with_store.report)
    with pytest.raises(ArtifactError, match=r"report was made from another evaluation; run the pipeline"):
        run(with_store)


def test_a_flipped_byte_in_the_bundle_is_refused_before_the_store_is_made(workspace: Workspace):
    flip(workspace.bundle / "tensors.safetensors")
    with pytest.raises(ArtifactError, match=r"tensors\.safetensors is damaged"):
        run(workspace)
    assert not (workspace.root / "mlflow.db").exists()


def test_what_was_kept_for_another_server_stays_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    trained = TrainedModel(workspace, "birds", "challenger", {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    kept = keep(trained)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here:5000")
    assert _without_sent(workspace, trained) == 1
    assert kept.is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000/")
    assert _without_sent(workspace, trained) == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    ("tags", "origin", "noted"),
    [
        (("true", "lock"), ("false", "lock"), True),
        (("true", "lock"), ("false", "other"), False),
        (("true", "lock"), ("true", "lock"), False),
        (("false", "lock"), ("false", "lock"), False),
    ],
)
def test_a_later_commit_is_noted_only_if_it_is_clean_and_of_the_same_lock(
    tags: tuple[str, str], origin: tuple[str, str], noted: bool
) -> None:
    names, found = ("git_dirty", "lock_digest"), []
    now = dict(zip(names, origin, strict=True)) | {"git_commit": "c" * 40}
    trained: Any = SimpleNamespace(origin=SimpleNamespace(**now, tags=lambda: now))
    version: Any = SimpleNamespace(name="birds", version="1", tags=dict(zip(names, tags, strict=True)))
    client: Any = SimpleNamespace(set_model_version_tag=lambda *words: found.append(words[2]))
    _follow_commit(client, version, trained, lambda _: None)
    assert found == (["git_commit", "git_dirty"] if noted else [])


def test_of_what_was_logged_before_the_own_whole_model_is_taken_and_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = {
        "whole": ("mine", "READY", "there"),
        "half": ("mine", "PENDING", "there"),
        "lost": ("mine", "READY", "gone"),
        "foreign": ("another", "PENDING", "there"),
    }
    found = [
        SimpleNamespace(model_id=name, source_run_id=run, status=status, artifact_location=place)
        for name, (run, status, place) in models.items()
    ]
    deleted: list[str] = []
    client: Any = SimpleNamespace(
        get_run=lambda _: SimpleNamespace(info=SimpleNamespace(experiment_id="1")),
        search_logged_models=lambda *_: found,
        delete_logged_model=deleted.append,
    )
    monkeypatch.setattr("protoquant.tracking.register.holds_bundle", lambda place: place == "there")
    assert _logged_model(client, "mine", "d") == "whole"
    assert deleted == ["half", "lost"]
