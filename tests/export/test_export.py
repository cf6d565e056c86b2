import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from protoquant.core.artifacts import open_artifact, read_json
from protoquant.core.errors import ArtifactError, ConfigError, UsageError
from protoquant.core.events import ignore
from protoquant.export import export as step
from protoquant.export.card import open_card
from protoquant.export.export import export
from protoquant.export.golden import Golden
from protoquant.export.onnx import open_onnx, write_onnx
from protoquant.export.parity import ExportError, compare
from protoquant.export.program import open_program, trace, write_program
from tests.builders.bundles import CLASSES
from tests.builders.pictures import pixels
from tests.export.conftest import Exported

pytestmark = pytest.mark.model


def test_both_files_answer_as_the_model(exported: Exported) -> None:
    for name in ("onnx", "torch"):
        found = exported.result.parity[name]
        assert found.failure is None
        assert found.relative < 1e-4
        assert exported.result.latency[name] > 0
    assert any(line.startswith("model.onnx on ") and "0 labels" in line for line in exported.told)
    assert set(exported.result.latency) == {"model", "onnx", "torch"}


def test_the_folder_names_its_bundle_and_says_what_the_outputs_are(exported: Exported) -> None:
    bundle, card = exported.model.bundle, open_card(exported.folder)
    assert open_artifact(exported.folder, "export").inputs == {"bundle": bundle.digest}
    assert card.classes == CLASSES
    assert card.prototypes == (0, 1, 2, 3, 4)
    assert card.grid == bundle.grid
    assert card.bundle == bundle.digest
    assert card.abstain_below is None
    assert set(card.parity) == {"model.onnx", "model.pt2"}
    assert {path.name for path in exported.folder.iterdir()} == {
        "card.json",
        "manifest.json",
        "model.onnx",
        "model.pt2",
    }


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 200, 30), (5, 33, 90), (2, 160, 160)])
def test_any_number_and_size_of_images(exported: Exported, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mine = np.array([one.logits for one in exported.model.predict(list(images))])
    for run in (open_onnx(exported.folder / "model.onnx"), open_program(exported.folder / "model.pt2")):
        outputs = run(images)
        assert outputs.logits.dtype == outputs.scores.dtype == np.float32
        assert outputs.cells.dtype == np.int64
        assert outputs.scores.shape == (shape[0], 5)
        assert outputs.cells.shape == (shape[0], 5, 2)
        assert outputs.maps.shape == (shape[0], 5, *exported.model.bundle.grid)
        assert np.array_equal(outputs.maps.max(axis=(2, 3)), outputs.scores)
        assert outputs.logits == pytest.approx(mine, abs=1e-4)


def test_logits_are_sums_of_the_scores(exported: Exported) -> None:
    outputs = open_onnx(exported.folder / "model.onnx")(pixels(4)[None])
    head = exported.model.bundle.head[:, :5].numpy()
    assert outputs.logits[0] == pytest.approx(head @ outputs.scores[0], abs=1e-5)
    found = exported.model.explain(pixels(4), 0)
    for part in found.contributions:
        assert outputs.scores[0, part.code] == pytest.approx(part.score, abs=1e-5)
        assert tuple(outputs.cells[0, part.code]) == part.cell
        assert outputs.maps[0, part.code] == pytest.approx(part.presence, abs=1e-5)


def test_the_axes_have_names(exported: Exported) -> None:
    graph = onnx.load(exported.folder / "model.onnx").graph
    axes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert axes == {
        "images": ["n", "height", "width", 3],
        "logits": ["n", 3],
        "scores": ["n", 5],
        "cells": ["n", 5, 2],
        "maps": ["n", 5, 5, 5],
    }


def test_the_same_model_gives_the_same_bytes_without_a_path_of_this_machine(exported: Exported, tmp_path: Path) -> None:
    program = trace(exported.model)
    write_onnx(program, tmp_path / "model.onnx")
    write_program(program, tmp_path / "model.pt2")
    for name in ("model.onnx", "model.pt2"):
        data = (tmp_path / name).read_bytes()
        assert data == (exported.folder / name).read_bytes()
        assert not re.search(rb"site-packages|export/module\.py", data)


def test_a_changed_head_is_found(exported: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported.folder / "model.onnx")
    head = exported.model.bundle.head[:, :5].numpy()
    (weights,) = [tensor for tensor in proto.graph.initializer if tuple(tensor.dims) in {(3, 5), (5, 3)}]
    values = numpy_helper.to_array(weights)
    assert np.array_equal(values, head) or np.array_equal(values, head.T)
    weights.CopyFrom(numpy_helper.from_array(values * np.float32(1.01), weights.name))
    onnx.save(proto, tmp_path / "model.onnx")
    found = compare(exported.model, open_onnx(tmp_path / "model.onnx"), [Golden("picture", pixels(5)[None])])
    assert found.scores < 1e-4
    assert found.failure is not None
    assert found.failure.startswith("logits of golden image 'picture' differ by 0.0")


@pytest.mark.usefixtures("fast")
def test_a_mismatch_is_refused_and_what_was_there_stays(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "export"
    export(exported.model, out=out, formats=["onnx"], on_event=ignore)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    real = step.compare
    monkeypatch.setattr(step, "compare", lambda model, run, golden: real(model, run, golden, tolerance=-1.0))
    with pytest.raises(
        ExportError, match=r"model\.onnx does not answer as the model: logits of golden image '.*' differ"
    ):
        export(exported.model, out=out, formats=["onnx"], on_event=ignore)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(ExportError, match="nothing was written"):
        export(exported.model, out=tmp_path / "other", formats=["torch"], on_event=ignore)
    assert {path.name for path in tmp_path.iterdir()} == {"export"}


@pytest.mark.usefixtures("fast")
def test_one_format_alone(exported: Exported, tmp_path: Path) -> None:
    result = export(exported.model, out=tmp_path / "export", formats=["onnx"], on_event=ignore)
    assert set(result.sizes) == set(open_card(tmp_path / "export").parity) == {"model.onnx"}
    assert read_json(tmp_path / "export" / "card.json")["input"]["axes"] == "(n, height, width, 3)"


def test_weights_that_onnx_cannot_hold_are_refused(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protoquant.export.onnx._LARGEST", 1000)
    program = torch.export.load(exported.folder / "model.pt2")
    with pytest.raises(UsageError, match="export with --format torch"):
        write_onnx(program, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protoquant.export.onnx.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"ONNX needs onnxruntime: pip install 'protoquant\[export\]'"):
        open_onnx(exported.folder / "model.onnx")


def test_a_backbone_that_cannot_be_traced_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(images: torch.Tensor) -> torch.Tensor:
        return images[: int(images.sum())]

    monkeypatch.setattr(exported.model.backbone.model, "forward_features", forward)
    with pytest.raises(ConfigError, match="test_convnext cannot be traced"):
        trace(exported.model)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2", "card.json", "manifest.json"])
def test_one_changed_byte_is_refused(exported: Exported, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "export"
    shutil.copytree(exported.folder, folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match="is damaged"):
        open_card(folder)


def test_a_folder_of_another_kind_is_refused(exported: Exported) -> None:
    bundle = exported.model.bundle.path
    assert bundle is not None
    with pytest.raises(ArtifactError, match="must hold 'export'"):
        open_card(bundle)
