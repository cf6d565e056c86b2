import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from protoquant.core.events import Event
from protoquant.export import export as step
from protoquant.export.export import ExportResult, export
from protoquant.model.classifier import Model
from tests.builders.backbones import load_backbone
from tests.builders.bundles import write_bundle
from tests.builders.models import bundle_of
from tests.builders.pictures import picture


@dataclass(frozen=True)
class Exported:
    """A model of random weights and what export made of it, once for all tests: a trace takes seconds."""

    model: Model
    result: ExportResult
    told: list[str]

    @property
    def folder(self) -> Path:
        return self.result.out


def export_model(folder: Path, backbone: str, norm: str = "l2", *, rest: bool = False, **extract: Any) -> Model:
    """A model with the picture of one patch, which is a golden image."""
    bundle = bundle_of(load_backbone(folder, backbone, **extract), picture(7), norm, rest=rest)
    return Model.load(write_bundle(folder / "bundle", bundle, crops=1))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model = export_model(tmp_path_factory.mktemp("convnext"), "test_convnext")
    events: list[Event] = []
    result = export(model, out=tmp_path_factory.mktemp("exported") / "export", on_event=events.append)
    return Exported(model, result, [event.text for event in events])


@pytest.fixture
def fast(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export that takes the finished files in place of a new trace."""
    copy = {name: lambda program, file: shutil.copy(exported.folder / file.name, file) for name in ("onnx", "torch")}
    monkeypatch.setattr(step, "trace", lambda model: None)
    monkeypatch.setattr(step, "_WRITE", copy)
    monkeypatch.setattr(step, "_RUNS", 1)
