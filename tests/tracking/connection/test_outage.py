import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.events import Event, MessageEvent
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.address import TrackingUnavailableError, UnknownUserError
from protoquant.tracking.connection.mlflow_api import MlflowClient, MlflowException, ModelVersion, Run
from protoquant.tracking.connection.outage import outage
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.register import PendingRegistration, RegisterResult, register
from protoquant.tracking.registry.fetch import fetch_bundle
from protoquant.tracking.registry.registered_model import find_registered
from protoquant.tracking.runs.pending import is_pending, pending
from protoquant.tracking.runs.sync import sync
from tests.builders.bundles import flip
from tests.builders.workspaces import evaluate, train
from tests.servers import REGION, free_ports, weed_mini
from tests.tracking.lossy import DENY, FAIL, Link, mlflow_server
from tests.tracking.processes import start_register

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("small_package")]

POINTS = ["experiments/get-by-name", "runs/create", "runs/log-batch", "PUT ", "model-versions/create", "alias"]


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    database = folder / "server.db"
    database.write_bytes(empty_store.read_bytes())
    with mlflow_server(folder, database) as url:
        yield url


@pytest.fixture
def link(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """A line to the server that the environment names; MLflow asks once."""
    made = Link(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield made
    made.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model of its own for each test, since they share the server."""
    return f"m{abs(hash(request.node.name)):x}"


class Birds:
    """The verbs on one workspace, and what the server holds of its model."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace, self.name, self.told = workspace, name, list[MessageEvent]()

    def hear(self, event: Event) -> None:
        assert isinstance(event, MessageEvent)
        self.told.append(event)

    def register(self, **params: Any) -> RegisterResult | PendingRegistration:
        config = RegisterConfig(name=self.name)
        return register(config, workspace=self.workspace, params={"seed": 0, **params}, on_event=self.hear)

    def sync(self, *, redirect: bool = False) -> Any:
        return sync(self.workspace, redirect=redirect, on_event=self.hear)

    @property
    def runs(self) -> list[Run]:
        client = MlflowClient()
        experiment = client.get_experiment_by_name(self.name)
        return list(client.search_runs([experiment.experiment_id])) if experiment else []

    @property
    def versions(self) -> list[ModelVersion]:
        return sorted(MlflowClient().search_model_versions(f"name = '{self.name}'"), key=lambda each: int(each.version))

    @property
    def champion(self) -> int:
        return int(MlflowClient().get_registered_model(self.name).aliases["challenger"])


@pytest.fixture
def birds(workspace: Workspace, link: Link, name: str) -> Birds:
    return Birds(workspace, name)


def assert_once(birds: Birds, into: Path) -> None:
    """One run, finished, one version, and the bundle that comes back is the one that was trained."""
    (run,), (version,) = birds.runs, birds.versions
    assert run.info.status == "FINISHED"
    assert version.run_id == run.info.run_id
    assert birds.champion == 1
    fetched = fetch_bundle(f"models:/{birds.name}@challenger", workspace=birds.workspace, into=into)
    assert artifact_digest(fetched.bundle) == artifact_digest(birds.workspace.bundle)
    assert run.data.metrics["evaluate.test.top1.value"] == 0.9
    assert len(run.inputs.dataset_inputs) == 3
    assert len(MlflowClient().get_metric_history(run.info.run_id, "quantize.history.perplexity")) == 2


@pytest.mark.parametrize("point", POINTS)
def test_what_was_lost_in_the_middle_is_sent_later_once(birds: Birds, link: Link, point: str, tmp_path: Path):
    link.lose_from(point)
    kept = birds.register()
    assert isinstance(kept, PendingRegistration)
    assert kept.path == birds.workspace.pending / artifact_digest(birds.workspace.bundle) / birds.name
    assert is_pending(birds.workspace)
    refused, where = birds.told
    assert refused.text.startswith(f"MLflow at {link.url} does not answer (")
    assert where.text == (
        f"run and model are kept in {kept.path}; protoquant tracking sync sends them when MLflow is back"
    )
    assert where.level == "warning"
    with pytest.raises(TrackingUnavailableError):
        birds.sync()
    link.mend()
    result = birds.sync()
    assert (result.sent[0].version, result.left) == (1, ())
    assert not is_pending(birds.workspace)
    assert pending(birds.workspace) == []
    assert_once(birds, tmp_path / "into")


def test_a_server_whose_database_is_gone_is_no_refusal(birds: Birds, link: Link, tmp_path: Path):
    link.lose_from("model-versions/search", FAIL)
    assert isinstance(birds.register(), PendingRegistration)
    assert "too many 503 error responses" in birds.told[0].text
    link.mend()
    assert isinstance(birds.register(), RegisterResult)
    assert not is_pending(birds.workspace)
    assert_once(birds, tmp_path / "into")


@pytest.mark.parametrize(
    "point", ["experiments/create", "runs/create", "POST /api/2.0/mlflow/logged-models ", "model-versions/create"]
)
def test_a_request_whose_answer_was_lost_is_not_done_twice(
    birds: Birds, link: Link, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    link.lose_once(point)
    assert isinstance(birds.register(), RegisterResult)
    assert sum(point in f"{request} " for request in link.seen) == 2
    assert_once(birds, tmp_path / "into")
    assert len(MlflowClient().search_logged_models([birds.runs[0].info.experiment_id])) == 1


def test_files_that_cannot_be_listed_are_not_taken_for_lost(birds: Birds, link: Link):
    birds.register()
    link.lose_once("mlflow-artifacts", FAIL)
    assert isinstance(birds.register(), PendingRegistration)
    assert birds.sync().sent[0].already
    assert len(birds.versions) == 1


@pytest.mark.parametrize("point", ["mlflow-artifacts", "model-versions/search"])
def test_a_user_who_is_kept_out_on_the_way_is_told_and_nothing_is_kept(birds: Birds, link: Link, point: str):
    birds.register()
    link.lose_from(point, DENY)
    with pytest.raises(UnknownUserError, match=rf"^MLflow at {link.url} does not let you in \(HTTP 401\)"):
        birds.register()
    assert pending(birds.workspace) == []
    link.mend()
    assert birds.register().already
    assert len(birds.versions) == 1


@pytest.mark.parametrize("point", ["PUT ", "alias"])
def test_a_killed_sync_is_finished_by_the_next(birds: Birds, link: Link, point: str, tmp_path: Path):
    link.lose_from("runs/create")
    birds.register()
    link.mend()
    with subprocess.Popen(
        [sys.executable, "-m", "protoquant", "tracking", "sync"], cwd=birds.workspace.root
    ) as process:
        link.kill_at(point, lambda: process.pid)
        assert process.wait(60) == -9
    link.mend()
    assert is_pending(birds.workspace)
    half = birds.workspace.pending / ("f" * 64) / f".{birds.name}-1-killed"
    (half / "artifacts").mkdir(parents=True)
    birds.sync()
    assert not half.parent.exists()
    assert_once(birds, tmp_path / "into")


def test_a_killed_register_is_finished_by_the_next(birds: Birds, link: Link, tmp_path: Path):
    process, _ = start_register(birds.workspace.root, birds.name, cwd=tmp_path)
    link.kill_at("PUT ", lambda: process.pid)
    process.join(60)
    assert process.exitcode == -9
    link.mend()
    assert [run.info.status for run in birds.runs] == ["RUNNING"]
    assert isinstance(birds.register(), RegisterResult)
    assert_once(birds, tmp_path / "into")


def test_two_syncs_at_once_send_each_model_once(birds: Birds, link: Link, programs: Path):
    link.lose_from("runs/create")
    for seed in (1, 2):
        train(birds.workspace, seed)
        link.lose_from("runs/create")
        birds.register()
    link.mend()
    call = [programs / "protoquant", "tracking", "sync"]
    both = [subprocess.Popen(call, cwd=birds.workspace.root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=90)[0].strip() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == ["0 sent, 0 still kept", "2 sent, 0 still kept"]
    assert len(birds.versions) == len(birds.runs) == 2
    assert birds.champion == 2


def test_an_alias_does_not_go_back(birds: Birds, link: Link):
    link.lose_from("runs/create")
    birds.register()
    link.mend()
    train(birds.workspace, seed=1)
    assert birds.register().version == 1
    assert birds.told[-1].text == "1 kept for MLflow and not sent yet; protoquant tracking sync sends them"
    birds.sync()
    assert birds.told[-1].text.endswith("registered as version 2; the alias stays at version 1, which got it later")
    assert (len(birds.versions), birds.champion) == (2, 1)


def test_an_alias_of_a_registry_that_does_not_say_since_when_is_judged_by_the_version(birds: Birds, link: Link):
    link.lose_from("runs/create")
    birds.register()
    link.mend()
    train(birds.workspace, seed=1)
    birds.register()
    MlflowClient().delete_model_version_tag(birds.name, "1", "challenger_since")
    birds.sync()
    assert birds.champion == 1


def test_the_later_evaluation_of_a_kept_bundle_wins(birds: Birds, link: Link):
    for top1 in (0.9, 0.7):
        evaluate(birds.workspace, top1)
        link.lose_from("runs/create")
        birds.register()
    link.mend()
    birds.sync()
    (version,), (run,) = birds.versions, birds.runs
    assert version.tags["test_accuracy"] == "0.7000"
    assert run.data.metrics["evaluate.test.top1.value"] == 0.7


def test_a_snapshot_holds_what_was_true_when_it_was_made(
    birds: Birds, link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (birds.workspace.root / "mine.safetensors").write_text("weights")
    train(birds.workspace, weights="mine.safetensors")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{birds.name}-mine")
    link.lose_from("runs/create")
    kept = birds.register(depth=[1, 2])
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    linked = kept.path / "artifacts" / "bundle" / "tensors.safetensors"
    assert linked.samefile(birds.workspace.bundle / "tensors.safetensors")
    bundle = artifact_digest(birds.workspace.bundle)
    birds.workspace.params.write_text("seed: 7\n")
    (birds.workspace.root / "mine.safetensors").unlink()
    birds.workspace.lock.write_text("schema: '2.0'\nstages: {train: {cmd: x}}\n")
    for path in sorted((birds.workspace.root / "artifacts").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    link.mend()
    (sent,) = birds.sync().sent
    held = MlflowClient().get_run(sent.run_id)
    assert held.data.params == {"seed": "0", "depth": "[1, 2]"}
    assert held.data.tags["lock_digest"] == "none"
    assert MlflowClient().get_experiment(held.info.experiment_id).name == f"{birds.name}-mine"
    fetched = fetch_bundle(f"models:/{birds.name}/1", workspace=birds.workspace, into=tmp_path / "into")
    assert artifact_digest(fetched.bundle) == bundle
    assert fetched.weights is not None
    assert fetched.weights.read_text() == "weights"
    files = {file.path for file in MlflowClient().list_artifacts(sent.run_id)}
    assert {"params.yaml", "report"} <= files


def test_a_damaged_snapshot_is_named_and_the_others_are_sent(birds: Birds, link: Link, programs: Path):
    paths = []
    for seed in (1, 2, 3):
        train(birds.workspace, seed)
        link.lose_from("runs/create")
        paths.append(birds.register().path)
    link.mend()
    (paths[0] / "manifest.json").write_text("{}")
    flip(paths[1] / "artifacts" / "bundle" / "tensors.safetensors")
    result = birds.sync()
    assert len(result.sent) == len(birds.versions) == 1
    assert "manifest.json is damaged" in result.left[0]
    assert "tensors.safetensors is damaged" in result.left[1]
    call = [programs / "protoquant", "tracking", "sync"]
    done = subprocess.run(call, cwd=birds.workspace.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (1, "0 sent, 2 still kept")
    assert "tensors.safetensors is damaged" in done.stderr


def test_what_was_kept_for_a_server_does_not_go_elsewhere_by_mistake(
    birds: Birds, link: Link, monkeypatch: pytest.MonkeyPatch
):
    link.lose_from("runs/create")
    birds.register()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UsageError, match=rf"kept for MLflow at {link.url}, and this would send them to .*--redirect"):
        birds.sync()
    assert birds.sync(redirect=True).sent[0].version == 1
    found = find_registered(RegisterConfig(name=birds.name), workspace=birds.workspace)
    assert found is not None
    assert (found.version, found.run_url) == (1, None)


def test_a_database_that_may_not_be_written_is_a_refusal():
    locked = MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE)
    forbidden = MlflowException("(sqlite3.OperationalError) attempt to write a readonly one", TEMPORARILY_UNAVAILABLE)
    assert outage(locked) == "(sqlite3.OperationalError) database is locked"
    assert outage(forbidden) is None


def test_a_refusal_keeps_nothing(birds: Birds, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "424242")
    with pytest.raises(ProtoQuantError, match=r"refused: .*No Experiment with id=424242"):
        birds.register()
    assert pending(birds.workspace) == []


def test_the_registered_model_is_found_with_its_links(birds: Birds, link: Link, workspace: Workspace):
    config = RegisterConfig(name=birds.name)
    assert find_registered(config, workspace=workspace) is None
    result = birds.register()
    found = find_registered(config, workspace=workspace)
    assert found is not None
    run = f"{link.url}/#/experiments/{found.experiment_id}/runs/{result.run_id}"
    assert (found.version, found.aliases, found.run_id) == (1, ("challenger",), result.run_id)
    view = "?workflowType=machine_learning"
    assert found.run_url == f"{run}{view}"
    assert found.version_url == f"{link.url}/#/models/{birds.name}/versions/1{view}"
    assert found.report_url == f"{run}/artifacts/report/index.html{view}"
    with open_store(workspace, create=False) as store:
        assert "report/index.html" in [file.path for file in store.client.list_artifacts(result.run_id, "report")]
    link.lose_from("")
    with pytest.raises(TrackingUnavailableError):
        find_registered(config, workspace=workspace)


def test_three_models_at_once_make_one_store_and_three_versions(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/main/mlflow.db")
    (tmp_path / "main").mkdir()
    worktrees = [Workspace(tmp_path / f"worktree {number}") for number in range(3)]
    for seed, each in enumerate(worktrees):
        shutil.copytree(workspace.root, each.root)
        train(each, seed)
    started = [start_register(each.root, "birds", cwd=tmp_path / "main") for each in worktrees]
    assert sorted(version.recv() for _, version in started if version.poll(120)) == [1, 2, 3]
    found = [find_registered(RegisterConfig(name="birds"), workspace=each) for each in worktrees]
    assert sorted(each.version for each in found if each) == [1, 2, 3]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {"main"}
    assert not (tmp_path / "mlruns").exists()
    assert not any((each.root / "mlruns").exists() for each in worktrees)


def test_real_servers_that_are_stopped_and_started_again(
    workspace: Workspace, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
):
    """MLflow with its files in S3: what the absence of either looks like to MLflow's client."""
    birds, (s3_port, port) = Birds(workspace, "birds"), free_ports(2)
    database = tmp_path / "server.db"
    database.write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    s3, mlflow = ExitStack(), ExitStack()
    with s3, mlflow:
        keys = s3.enter_context(weed_mini(tmp_path / "s3", port=s3_port))
        make_bucket(keys)
        # The server asks S3 once; by itself it tries for longer than its client waits.
        keys |= {"MLFLOW_S3_ENDPOINT_URL": keys["AWS_ENDPOINT_URL"], "AWS_MAX_ATTEMPTS": "1"}
        start = partial(mlflow_server, tmp_path / "mlflow", database, port=port, destination="s3://mlflow/x", **keys)
        mlflow.enter_context(start())
        s3.close()
        assert isinstance(birds.register(), PendingRegistration)
        assert "(too many 500 error responses: its database or file store may be away)" in birds.told[0].text
        assert [run.info.status for run in birds.runs] == ["FAILED"]
        mlflow.close()
        train(workspace, seed=1)
        assert isinstance(birds.register(), PendingRegistration)
        assert "(Connection refused)" in birds.told[2].text
        s3.enter_context(weed_mini(tmp_path / "s3", port=s3_port))
        mlflow.enter_context(start())
        assert [each.version for each in birds.sync().sent] == [1, 2]
        assert birds.champion == 2
        fetched = fetch_bundle("models:/birds/2", workspace=workspace, into=tmp_path / "into")
        assert artifact_digest(fetched.bundle) == artifact_digest(workspace.bundle)
        assert {run.info.status for run in birds.runs} == {"FINISHED"}


def make_bucket(keys: dict[str, str]) -> None:
    session = boto3.Session(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    session.client("s3", endpoint_url=keys["AWS_ENDPOINT_URL"]).create_bucket(Bucket="mlflow")


def test_the_list_tells_what_waits(birds: Birds, link: Link, programs: Path):
    link.lose_from("runs/create")
    kept = birds.register()
    call = [programs / "protoquant", "tracking", "list", "--json"]
    done = subprocess.run(call, cwd=birds.workspace.root, capture_output=True, text=True, check=True)
    assert f'"path": "{kept.path}"' in done.stdout
    assert f'"for": "{link.url}"' in done.stdout
    assert os.environ["MLFLOW_TRACKING_URI"] == link.url


def test_config_check_asks_the_server(workspace: Workspace, link: Link, programs: Path):
    (workspace.root / "images").mkdir()
    workspace.params.write_text("prepare: {reader: image_folder, root: images}\n")
    call = [programs / "protoquant", "config", "check"]
    done = subprocess.run(call, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "params.yaml is valid\n")
    link.lose_from("", FAIL)
    done = subprocess.run(call, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert done.stderr.startswith(f"error: MLflow at {link.url} does not answer (HTTP 503); start it")
