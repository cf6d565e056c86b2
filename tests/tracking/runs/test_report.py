from collections.abc import Iterator
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.registry import point_alias
from protoquant.tracking.runs.report import fetch_report


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


def run_with(store: Store, page: Path | None) -> str:
    run = str(store.client.create_run(experiment_id(store, "birds")).info.run_id)
    if page is not None:
        store.client.log_artifact(run, str(page), artifact_path="report")
    return run


def test_the_report_of_a_run_and_of_a_models_run(store: Store, with_store: Workspace, tmp_path: Path):
    run = run_with(store, with_store.report / "index.html")
    store.client.create_registered_model("birds")
    store.client.create_model_version("birds", f"runs:/{run}/model", run_id=run)
    point_alias(store.client, "birds", "challenger", 1)
    for number, name in enumerate((run, "models:/birds@challenger", "models:/birds/1")):
        folder = fetch_report(name, workspace=with_store, into=tmp_path / str(number))
        assert (folder / "index.html").read_text() == "<p>report</p>"


def test_what_names_no_report_is_said(store: Store, with_store: Workspace, tmp_path: Path):
    run = run_with(store, None)
    for name, said in {
        run: f"the run {run} holds no report",
        32 * "0": f"no run '{32 * '0'}'",
        "models:/fish@champion": "no model 'models:/fish@champion'",
        "models:/fish/7": "no model 'models:/fish/7'",
    }.items():
        with pytest.raises(UsageError) as caught:
            fetch_report(name, workspace=with_store, into=tmp_path)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
