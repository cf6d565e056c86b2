from collections.abc import Iterator
from dataclasses import replace

import pytest

from protoquant.core.errors import ProtoQuantError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.mlflow_api import MlflowClient
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.runs.lineage import Lineage
from protoquant.tracking.runs.runs import choose_run, log_measurements, log_params, running

pytestmark = pytest.mark.server

ORIGIN = Lineage("c0ffee", "false", "d", "w", "b" * 64, "e", "l", {"torch": "2.0"})
PARAMS = {"seed": "0", "train.temperature": "[0.03]"}


@pytest.fixture
def client(with_store: Workspace) -> Iterator[MlflowClient]:
    with open_store(with_store, create=False) as store:
        yield store.client


@pytest.fixture
def experiment(client: MlflowClient, with_store: Workspace) -> str:
    with open_store(with_store, create=False) as store:
        return experiment_id(store, "birds")


def choose(client: MlflowClient, experiment: str, origin: Lineage = ORIGIN, params: dict[str, str] = PARAMS) -> str:
    return choose_run(client, experiment, origin=origin, params=params)


def test_a_new_run_carries_the_lineage(client: MlflowClient, experiment: str):
    run = client.get_run(choose(client, experiment))
    assert run.info.status == "RUNNING"
    assert ORIGIN.tags().items() <= run.data.tags.items()
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"


def test_outside_git_mlflow_is_told_no_commit(client: MlflowClient, experiment: str):
    run = client.get_run(choose(client, experiment, replace(ORIGIN, git_commit="none")))
    assert "mlflow.source.git.commit" not in run.data.tags
    assert run.data.tags["mlflow.source.name"] == "protoquant register"


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED", "FINISHED"])
def test_the_run_of_the_same_bundle_is_taken_up(client: MlflowClient, experiment: str, status: str):
    left = choose(client, experiment)
    log_params(client, left, PARAMS)
    client.update_run(left, status=status)
    assert choose(client, experiment) == left


def test_the_run_of_another_bundle_is_not(client: MlflowClient, experiment: str):
    left = choose(client, experiment)
    assert choose(client, experiment, replace(ORIGIN, bundle_digest="f" * 64)) != left


def test_a_run_with_other_parameters_is_ended_and_left(client: MlflowClient, experiment: str):
    left = choose(client, experiment)
    log_params(client, left, PARAMS)
    assert choose(client, experiment, params={**PARAMS, "seed": "1"}) != left
    assert client.get_run(left).info.status == "KILLED"


def test_a_run_handed_on_is_used_and_tagged(client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch):
    handed = client.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", handed)
    assert choose(client, experiment) == handed
    assert client.get_run(handed).data.tags["bundle_digest"] == ORIGIN.bundle_digest


def test_a_run_handed_on_must_exist_and_fit(client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(ProtoQuantError, match="MLFLOW_RUN_ID names no run of this store, got '0000"):
        choose(client, experiment)
    monkeypatch.setenv("MLFLOW_RUN_ID", handed := client.create_run(experiment).info.run_id)
    log_params(client, handed, {"seed": "1"})
    with pytest.raises(ProtoQuantError, match="already holds another value of seed; unset it"):
        choose(client, experiment)
    client.set_tag(handed, "bundle_digest", "other")
    with pytest.raises(ProtoQuantError, match="already holds another model; unset it"):
        choose(client, experiment, params={})


def test_many_and_long_parameters_are_accepted(client: MlflowClient, experiment: str):
    run_id = choose(client, experiment)
    params = {f"p.{number}": "x" for number in range(250)} | {"long": "y" * 7000}
    log_params(client, run_id, params)
    log_params(client, run_id, params)
    held = client.get_run(run_id).data.params
    assert len(held) == 251
    assert held["long"] == "y" * 6000
    assert choose(client, experiment, params=params) == run_id


def test_measurements_written_twice_are_there_once(client: MlflowClient, experiment: str, with_store: Workspace):
    run_id = choose(client, experiment)
    for _ in range(2):
        log_measurements(client, run_id, workspace=with_store, origin=ORIGIN)
    history = client.get_metric_history(run_id, "quantize.history.perplexity")
    assert [(point.step, point.value) for point in history] == [(1, 10.0), (2, 12.5)]
    assert len(client.get_metric_history(run_id, "evaluate.test.top1.value")) == 1
    files = {file.path for folder in ("train", "report", "evaluate") for file in client.list_artifacts(run_id, folder)}
    expected = {"train/path.csv", "train/metrics.json", "report/index.html", "evaluate/confusion.csv"}
    assert expected <= files
    assert {file.path for file in client.list_artifacts(run_id)} >= {"params.yaml", "packages.json"}


def test_a_metric_name_that_mlflow_would_refuse_is_mended(
    client: MlflowClient, experiment: str, with_store: Workspace, monkeypatch: pytest.MonkeyPatch
):
    run_id = choose(client, experiment)
    monkeypatch.setattr("protoquant.tracking.runs.runs.metrics", lambda _: {"evaluate.Swainson's (hawk)": 0.5})
    log_measurements(client, run_id, workspace=with_store, origin=ORIGIN)
    assert client.get_run(run_id).data.metrics["evaluate.Swainson_s _hawk_"] == 0.5


def test_a_run_ends_finished_or_failed(client: MlflowClient, experiment: str):
    run_id = choose(client, experiment)
    with running(client, run_id):
        assert client.get_run(run_id).info.status == "RUNNING"
    assert client.get_run(run_id).info.status == "FINISHED"
    with pytest.raises(KeyboardInterrupt), running(client, run_id):
        raise KeyboardInterrupt
    assert client.get_run(run_id).info.status == "FAILED"
