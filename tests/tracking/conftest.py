"""A workspace whose six stages have run: small files in the shapes that the stages write."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from protoquant.core.artifacts import artifact_digest, write_json, writing
from protoquant.core.workspace import Workspace

WEIGHT_DIGEST = "a" * 64
TEST_TOP1 = {"value": 0.9, "n": 40, "low": 0.8, "high": 0.95}
MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


def write_bundle(workspace: Workspace, codes: str = "codes") -> None:
    with writing(workspace.bundle, "bundle") as folder:
        (folder / "tensors.safetensors").write_text(codes)
        write_json(folder / "metrics.json", {"validation": {"top1": 0.875}, "rule": "sparsest"})
        (folder / "path.csv").write_text("penalty,prototypes,top1\n0.1,4,0.80\n0.01,9,0.85\n")


def write_evaluation(workspace: Workspace, top1: float = 0.9) -> None:
    bundle = artifact_digest(workspace.bundle)
    test = {"top1": {**TEST_TOP1, "value": top1}, "probe": {"top1": {"value": 0.95}}}
    with writing(workspace.evaluation, "evaluation", {"bundle": bundle}) as folder:
        write_json(folder / "metrics.json", {"test": test, "size": {"global_size": 9, "class_size": 2.5}})
        (folder / "confusion.csv").write_text("actual,predicted\nwren,wren\n")
    inputs = {"bundle": bundle, "evaluation": artifact_digest(workspace.evaluation)}
    with writing(workspace.report, "report", inputs) as folder:
        (folder / "index.html").write_text("<p>report</p>")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MLFLOW_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it does not."""
    from protoquant.tracking.store import open_store

    workspace = Workspace(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_VARIABLES:
            patch.delenv(name, raising=False)
        with open_store(workspace, create=True) as store:
            store.client.search_experiments()
    return workspace.root / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Complete, but for the store; its path holds a space."""
    made = Workspace(tmp_path / "my birds")
    with writing(made.images, "images") as folder:
        (folder / "images.parquet").write_text("images")
    with writing(made.codebook, "codebook") as folder:
        write_json(
            folder / "metrics.json", {"perplexity": 12.5, "probe": {"train": 1, "ready": True, "name": "linear"}}
        )
        (folder / "history.csv").write_text("epoch,perplexity,dead_share\n1,10.0,0.1\n2,12.5,\n")
    write_bundle(made)
    write_evaluation(made)
    made.params.write_text("seed: 0\n")
    return made


@pytest.fixture
def with_store(workspace: Workspace, empty_store: Path) -> Workspace:
    """A complete workspace with a store that holds nothing yet."""
    shutil.copy(empty_store, workspace.root / "mlflow.db")
    return workspace


@pytest.fixture
def without_reader(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand in for the bundle's reader, since the bundles here hold text for tensors."""

    def stand_in(file: str | None = None) -> None:
        module: Any = ModuleType("protoquant.head.bundle")
        weights = SimpleNamespace(digest=WEIGHT_DIGEST, source="file" if file else "packaged", file=file)
        module.Bundle = SimpleNamespace(open=lambda _: SimpleNamespace(backbone=SimpleNamespace(weights=weights)))
        monkeypatch.setitem(sys.modules, "protoquant.head.bundle", module)

    stand_in()
    return stand_in


@pytest.fixture
def small_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What MLflow loads the model by, alone: a hundred and more files of code take seconds to send."""
    from protoquant.tracking import flavor

    package = tmp_path / "protoquant"
    (package / "tracking").mkdir(parents=True)
    shutil.copy(flavor._PACKAGE / "tracking" / "pyfunc.py", package / "tracking")
    monkeypatch.setattr(flavor, "_PACKAGE", package)


@pytest.fixture
def train() -> Callable[[Workspace, str], None]:
    """Write a bundle with the given codes, and what is made from it."""

    def write(workspace: Workspace, codes: str) -> None:
        write_bundle(workspace, codes)
        write_evaluation(workspace)

    return write


@pytest.fixture
def evaluate() -> Callable[[Workspace, float], None]:
    """Write the test numbers of the bundle that is there."""
    return write_evaluation
