"""Two versions of a registered model, compared by their URIs."""

import json
from pathlib import Path

import pytest
import torch
import typer
from mlflow.entities import LoggedModelOutput
from typer.testing import CliRunner

from protoquant.cli.remote.registry_diff import diff
from protoquant.core.artifacts import artifact_digest
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.registry import create_version, point_alias
from tests.builders.bundles import answering, write_bundle
from tests.builders.tokens import turned

pytestmark = pytest.mark.server

HEAD = torch.eye(3)


def register(store: Store, folder: Path) -> None:
    """Log a folder as a model, and register it."""
    experiment = experiment_id(store, "birds")
    run_id = store.client.create_run(experiment).info.run_id
    store.client.log_metric(run_id, "evaluate.test.top1.value", 0.9)
    model = store.client.create_logged_model(experiment, name="model", source_run_id=run_id)
    store.client.log_model_artifacts(model.model_id, str(folder))
    store.client.finalize_logged_model(model.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    digest = artifact_digest(folder / "artifacts" / "bundle")
    tags = {"bundle_digest": digest, "test_accuracy": "0.9000"}
    create_version(store.client, "birds", model_id=model.model_id, run_id=run_id, tags=tags, description="")


def test_versions_are_fetched_and_compared(
    with_store: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(with_store, create=False) as store:
        for name, angle in (("one", 200), ("two", 290)):
            bundle = answering(turned(0, 90, angle), HEAD, (0, 0, 1, 2, 2, 0))
            write_bundle(tmp_path / name / "artifacts" / "bundle", bundle)
            register(store, tmp_path / name)
        point_alias(store.client, "birds", "champion", 1)
    monkeypatch.chdir(with_store.root)
    app = typer.Typer()
    app.command()(diff)
    done = CliRunner().invoke(app, ["models:/birds@champion", "models:/birds/2", "--json"], catch_exceptions=False)
    plain = json.loads(done.stdout)
    assert plain["names"] == ["birds@champion", "birds/2"]
    assert plain["verdicts"] == {"kept": 2, "moved": 0, "new": 1, "lost": 1}
    found = [(each["name"], each["before"], each["after"]) for each in plain["test_numbers"]]
    assert found == [("test.top1", 0.9, 0.9)]
