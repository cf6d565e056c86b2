"""The experiment of the runs: found or made, and of the kind that trains models."""

import pytest

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.experiments import KIND, experiment_id
from protoquant.tracking.connection.store import open_store

pytestmark = pytest.mark.server


def test_an_experiment_of_a_copied_workspace_is_left_alone(with_store: Workspace):
    with open_store(with_store, create=False) as store:
        foreign = store.client.create_experiment("birds", artifact_location="file:///elsewhere/mlruns")
        made = experiment_id(store, "birds")
        assert made != foreign
        assert store.client.get_experiment(made).name == "birds-2"
        assert experiment_id(store, "birds") == made


def test_an_experiment_whose_files_are_on_a_server_is_used(with_store: Workspace):
    with open_store(with_store, create=False) as store:
        made = store.client.create_experiment("birds", artifact_location="s3://bucket/birds")
        assert experiment_id(store, "birds") == made


def test_an_experiment_that_another_process_makes_meanwhile_is_used(
    with_store: Workspace, monkeypatch: pytest.MonkeyPatch
):
    with open_store(with_store, create=False) as store:
        made = experiment_id(store, "birds")
        look, answers = store.client.get_experiment_by_name, [None]
        monkeypatch.setattr(
            store.client, "get_experiment_by_name", lambda name: answers.pop() if answers else look(name)
        )
        assert experiment_id(store, "birds") == made


def test_a_deleted_experiment_says_how_to_restore_it(with_store: Workspace):
    with open_store(with_store, create=False) as store:
        store.client.delete_experiment(gone := experiment_id(store, "birds"))
        with pytest.raises(ProtoQuantError, match=rf"'birds' is deleted .*mlflow experiments restore -x {gone}"):
            experiment_id(store, "birds")


def test_mlflows_own_variables_name_the_experiment(with_store: Workspace, monkeypatch: pytest.MonkeyPatch):
    with open_store(with_store, create=False) as store:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
        made = experiment_id(store, "birds")
        assert store.client.get_experiment(made).name == "mine"
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        assert experiment_id(store, "birds") == "0"


def test_an_experiment_gets_the_kind_that_its_owner_has_not_given_it(with_store: Workspace):
    (name, training), agents = next(iter(KIND.items())), "genai_development"
    with open_store(with_store, create=False) as store:
        location = (with_store.root / "mlruns").as_uri()
        store.client.create_experiment("old", artifact_location=location)
        store.client.create_experiment("agents", artifact_location=location, tags={name: agents})
        kinds = {
            birds: store.client.get_experiment(experiment_id(store, birds)).tags[name]
            for birds in ("new", "old", "agents")
        }
    assert kinds == {"new": training, "old": training, "agents": agents}
