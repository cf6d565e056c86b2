"""The splits of the images as data sets of MLflow: their names, and what a snapshot of an older version leaves out."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.workspace import Workspace
from protoquant.tracking.runs.datasets import log_data
from protoquant.tracking.runs.trained_model import TrainedModel

pytestmark = pytest.mark.process


def logged(workspace: Workspace, **params: str) -> list[Any]:
    told: list[Any] = []
    client: Any = SimpleNamespace(log_inputs=lambda run_id, inputs: told.extend(inputs))
    log_data(client, "run", TrainedModel(workspace, "birds", "challenger", params))
    return told


@pytest.mark.parametrize(
    ("root", "name", "kind"),
    [
        ("data/partbirds.yaml", "partbirds", "local"),
        ("../photos/birds.v2", "birds.v2", "local"),
        ("s3://bucket/birds/", "birds", "s3"),
        ("s3://bucket", "bucket", "s3"),
        ("", "images", "local"),
    ],
)
def test_a_data_set_is_named_by_its_root(workspace: Workspace, root: str, name: str, kind: str) -> None:
    (first, *_) = logged(workspace, **{"prepare.root": root})
    held = first.dataset
    assert (held.name, held.source_type, json.loads(held.source)) == (name, kind, {"uri": root})


def test_each_split_has_its_digest_and_the_columns_of_its_table(workspace: Workspace) -> None:
    found = logged(workspace)
    assert [one.dataset.digest for one in found] == [
        artifact_digest(workspace.images / one.tags[0].value)[:12] for one in found
    ]
    columns = json.loads(found[0].dataset.schema)["mlflow_colspec"]
    assert {"name": "label", "type": "long", "required": True} in columns


def test_a_snapshot_without_counts_is_logged_without_them(workspace: Workspace) -> None:
    (workspace.images / "summary.json").unlink()
    assert {one.dataset.profile for one in logged(workspace)} == {None}
