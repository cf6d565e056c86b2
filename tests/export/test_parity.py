from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protoquant.export.export import check_parity
from protoquant.export.golden import Golden, golden_images
from protoquant.export.module import Exportable
from protoquant.export.outputs import Outputs, Run
from protoquant.export.parity import Parity, compare
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.classifier import Model
from tests.builders.backbones import RESNET
from tests.builders.bundles import write_bundle
from tests.builders.models import bundle_of
from tests.builders.pictures import picture, pixels
from tests.export.conftest import Exported, export_model

pytestmark = pytest.mark.model

EQUAL = Parity(
    30,
    1e-4,
    1e-6,
    1e-6,
    1e-6,
    1e-6,
    0.0,
    0.0,
    0,
    0,
    dict.fromkeys(("relative", "scores", "maps", "cells", "labels"), "x"),
)


def untraced(model: Model) -> Run:
    """What is traced, run by torch as it stands."""
    module = Exportable(model)

    def run(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return Outputs(*(part.numpy() for part in module(torch.tensor(images))))

    return run


@pytest.mark.parametrize(
    ("backbone", "extract"),
    [
        ("test_resnet", {}),
        ("test_vit", {}),
        ("test_vit2", {}),
        ("test_resnet", {"view": "squash", "output_stride": 16}),
        ("test_vit", {"view": "pad", "patch_stride": 8, "grid": (9, 7)}),
        ("test_resnet", {"layers": ("layer3", "last")}),
    ],
    ids=["resnet", "vit", "vit2", "squash", "pad", "layers"],
)
def test_onnx_answers_as_the_model(backbone: str, extract: dict[str, Any], tmp_path: Path) -> None:
    model = export_model(tmp_path, backbone, **extract)
    found = check_parity(model)
    assert found.failure is None
    assert found.images == 20
    assert found.relative < 1e-4
    assert found.other_labels == 0


@pytest.mark.parametrize("norm", ["none", "l2", "layernorm", "center_l2", "whiten"])
@pytest.mark.parametrize("rest", [False, True])
def test_every_feature_space_and_rest_codes(norm: str, rest: bool, tmp_path: Path) -> None:
    model = export_model(tmp_path, "test_convnext", norm, rest=rest)
    found = compare(model, untraced(model), [Golden("a", pixels(1)[None]), Golden("b", pixels(2, 60, 200)[None])])
    assert found.failure is None
    assert found.images == 2


def test_an_empty_token_has_no_direction(tmp_path: Path) -> None:
    model = export_model(tmp_path, "test_convnext", "whiten")
    tokens = torch.zeros(1, 4, model.bundle.codebook.d)
    tokens[0, 0] = 1.0
    shares = Exportable(model)._shares(tokens)
    assert torch.allclose(shares[0, 1:], torch.full_like(shares[0, 1:], 1 / 6))
    assert not torch.allclose(shares[0, 0], shares[0, 1])


def test_golden_images_are_the_same_each_time_and_of_many_sizes(exported: Exported) -> None:
    one, other = golden_images(exported.model.bundle), golden_images(exported.model.bundle)
    assert [each.name for each in one] == [each.name for each in other]
    assert all(np.array_equal(mine.images, theirs.images) for mine, theirs in zip(one, other, strict=True))
    shapes = {each.images.shape[1:3] for each in one}
    assert {height > width for height, width in shapes} == {True, False}
    assert len(one[-1].images) == 4
    assert "patch 00000-0" in one[-1].name
    assert len({each.name for each in one}) == len(one)


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("logits", "logits of golden image"),
        ("scores", "scores of golden image"),
        ("maps", "maps of golden image"),
    ],
)
def test_a_difference_is_named_with_its_image(exported: Exported, output: str, named: str) -> None:
    run = untraced(exported.model)

    def wrong(images: np.ndarray) -> Outputs:
        outputs = run(images)
        return (
            outputs._replace(**{output: getattr(outputs, output) + np.float32(0.01)}) if images[0, 0, 0, 0] else outputs
        )

    black, grey = np.zeros((1, 40, 50, 3), np.uint8), np.full((1, 30, 50, 3), 99, np.uint8)
    found = compare(exported.model, wrong, [Golden("black", black), Golden("grey", grey)])
    assert found.failure is not None
    assert named in found.failure
    assert "'grey'" in found.failure
    assert "0.01, allowed 0.0001" in found.failure or "allowed 0.0001" in found.failure


def test_another_cell_counts_by_the_presence_it_gives_up(exported: Exported) -> None:
    run = untraced(exported.model)

    def wrong(images: np.ndarray) -> Outputs:
        outputs = run(images)
        return outputs._replace(cells=4 - outputs.cells)  # the grid is 5 x 5

    found = compare(exported.model, wrong, [Golden("picture", pixels(3)[None])])
    assert found.other_cells > 0
    assert found.cells > found.tolerance
    assert found.failure is not None
    assert found.failure.startswith("cells of golden image 'picture' differ by")
    for by in (9, -9):
        flat = compare(
            exported.model,
            lambda images, by=by: run(images)._replace(cells=run(images).cells + by),
            [Golden("p", pixels(3)[None])],
        )
        assert flat.cells == float("inf")


def test_a_number_that_is_none_is_the_largest_difference_in_whichever_image(tmp_path: Path) -> None:
    model = export_model(tmp_path, "test_convnext")
    run = untraced(model)

    def wrong(images: np.ndarray) -> Outputs:
        outputs = run(images)
        return outputs._replace(scores=outputs.scores * np.float32("nan")) if images[0, 0, 0, 0] == 99 else outputs

    golden = [Golden(str(grey), np.full((1, 30, 50, 3), grey, np.uint8)) for grey in (0, 99, 200)]
    found = compare(model, wrong, golden)
    assert found.failure is not None
    assert found.failure.startswith("scores of golden image '99' differ by nan")


def test_cells_of_a_grid_that_is_not_square_are_counted_row_by_row(tmp_path: Path) -> None:
    bundle = bundle_of(Backbone.load(RESNET.config(tmp_path), "cpu"), picture(7))
    assert bundle.grid == (2, 3)
    model = Model.load(write_bundle(tmp_path / "bundle", bundle))
    found = compare(model, untraced(model), [Golden("a", pixels(1)[None]), Golden("b", pixels(2)[None])])
    assert (found.failure, found.other_cells) == (None, 0)


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({}, None),
        ({"relative": 2e-4}, "logits of golden image 'x' differ by 0.0002, allowed 0.0001"),
        ({"scores": float("nan")}, "scores of golden image 'x' differ by nan"),
        ({"maps": 2e-4}, "maps of golden image 'x' differ by 0.0002"),
        ({"labels": 0.5}, "labels of golden image 'x' differ by 0.5"),
        ({"tolerance": -1.0}, "logits of golden image 'x' differ"),
        ({"other_cells": 3, "other_labels": 1}, None),
    ],
)
def test_what_counts_as_a_failure(change: dict[str, float], clause: str | None) -> None:
    failure = replace(EQUAL, **change).failure
    assert failure is None if clause is None else failure is not None and failure.startswith(clause)
