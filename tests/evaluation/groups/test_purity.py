"""A world of six test images in which two prototypes lie where they lie, and parts are put beside them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.purity import measure
from protoquant.evaluation.metrics.purity import PURITY
from protoquant.evaluation.places.whole_images import whole_view
from protoquant.evaluation.subject import Subject
from tests.builders.backbones import RESNET, load_backbone
from tests.builders.bundles import bundle
from tests.builders.parts import points_of
from tests.builders.pictures import picture
from tests.builders.specs import preprocessing, spec
from tests.evaluation.groups.subjects import annotated

PARTS = ("beak", "left eye", "right eye")
CODES = torch.eye(4)[:3]


def world(folder: Path, points: dict[str, dict[int, tuple[float, float]]], n: int = 6) -> Subject:
    """Code 0 is in the first of 2 x 3 cells, code 1 in the last; a cell is 32 x 32 pixels, a fixed box 14 x 9."""
    tokens = torch.eye(4)[3].repeat(n, 6, 1)
    tokens[:, 0], tokens[:, 5] = CODES[0], CODES[1]
    made = bundle(
        CODES,
        torch.tensor([[2.0, 0.0, 1e-6], [0.0, 3.0, 0.0]]),
        classes=("auk", "crane"),
        backbone=spec(view=preprocessing((64, 96))),
        temperature=0.05,
    )
    return annotated(folder, made, {"test": (tokens, torch.arange(n) % 2)}, points_of(points, PARTS))


POINTS: dict[str, dict[int, tuple[float, float]]] = {
    **{f"test/{number:03d}.png": {0: (5.0, 5.0)} for number in range(3)},  # in the fixed box of the first cell
    **{f"test/{number:03d}.png": {0: (20.0, 20.0)} for number in range(3, 6)},  # in the cell alone
}


def test_purity_by_hand(tmp_path: Path) -> None:
    points = {**POINTS, "test/001.png": {0: (5.0, 5.0), 1: (90.0, 60.0)}}
    found = measure(world(tmp_path, points), "test")
    fixed, cell = found.numbers["fixed"], found.numbers["cell"]
    # Prototype 0 holds the beak; prototype 1 the one eye, which is a left eye and counts as a right one.
    assert (fixed["mean"]["value"], cell["mean"]["value"]) == (0.75, 1.0)
    assert (fixed["mean"]["n"], fixed["prototypes"], fixed["related"], cell["related"]) == (2, 2, 1, 2)
    assert fixed["std"] == pytest.approx(0.25)
    assert fixed["filled"] is None
    # In five images only the beak is visible, which prototype 1 never holds.
    assert fixed["min_count"]["mean"]["value"] == 0.25
    assert fixed["holding"]["value"] == pytest.approx((3 / 6 + 1 / 6) / 2)
    assert fixed["all"]["mean"]["value"] == 0.75
    table = found.tables[PURITY].set_index(["box", "code"])
    assert list(table.index) == [("fixed", 0), ("fixed", 1), ("cell", 0), ("cell", 1)]  # code 2 has too small a weight
    assert table.loc[("fixed", 0), ["part", "purity", "n", "hits"]].tolist() == ["beak", 0.5, 6, 3]
    assert table.loc[("fixed", 1), ["part", "purity", "n", "hits"]].tolist() == ["right eye", 1.0, 1, 1]
    assert table.loc[("cell", 1), ["min_count_part", "min_count_purity", "min_count_n"]].tolist() == ["beak", 0.0, 6]
    assert set(table["grid"]) == {"2x3"}
    assert set(table["view"]) == {"64x96 squash"}


def test_random_cells_are_the_same_for_both_boxes_and_worse_than_the_prototypes(tmp_path: Path) -> None:
    numbers = measure(world(tmp_path, POINTS), "test").numbers
    assert numbers["cell"]["random_cells"]["value"] < numbers["cell"]["mean"]["value"]
    assert numbers["fixed"]["random_cells"]["value"] <= numbers["cell"]["random_cells"]["value"]


def test_images_without_annotations_are_left_out(tmp_path: Path) -> None:
    few = {name: points for name, points in POINTS.items() if name in {"test/001.png", "test/004.png"}}
    found = measure(world(tmp_path, few), "test").tables[PURITY].set_index(["box", "code"])
    assert found.loc[("fixed", 0), ["purity", "n", "all_patches"]].tolist() == [0.5, 2, 2]


def test_points_of_no_image_leave_no_purity(tmp_path: Path) -> None:
    found = measure(world(tmp_path, {name: {} for name in POINTS}), "test")
    assert found.numbers["fixed"]["mean"] is None
    assert (found.numbers["fixed"]["std"], found.numbers["fixed"]["prototypes"]) == (None, 0)
    assert found.numbers["fixed"]["holding"]["value"] == 0.0
    assert found.tables[PURITY]["part"].tolist() == [""] * 4


def test_twice_gives_the_same(tmp_path: Path) -> None:
    subject = world(tmp_path, POINTS)
    one, other = measure(subject, "test"), measure(subject, "test")
    assert one.numbers == other.numbers
    pd.testing.assert_frame_equal(one.tables[PURITY], other.tables[PURITY])


@pytest.mark.model
def test_the_whole_view_of_a_model_that_sees_whole_images_is_its_own(tmp_path: Path) -> None:
    loaded = load_backbone(tmp_path, "test_resnet", input_size=RESNET.size)
    view = whole_view(loaded.spec.preprocessing)
    assert (view.resize, view.crop, view.mode) == ((64, 96), (64, 96), "squash")
    backbone = replace(loaded, spec=replace(loaded.spec, preprocessing=view))
    images = [picture(number, 120, 90) for number in range(6)]
    tokens = torch.cat([backbone.features(backbone.batch([image])).tokens for image in images])
    codes = torch.nn.functional.normalize(tokens[0][[0, 5]])
    made = bundle(codes, torch.eye(2), classes=("auk", "crane"), grid=backbone.grid, backbone=backbone.spec)
    places = {f"test/{number:03d}.png": {0: (10.0 * number, 12.0), 2: (70.0, 60.0)} for number in range(6)}
    points = points_of(places, PARTS)
    config = EvaluateConfig(resamples=100, purity_whole=True)
    features = {"test": (tokens, torch.arange(6) % 2)}
    subject = annotated(tmp_path, made, features, points, config=config, size=(120, 90))
    subject.__dict__["backbone"] = backbone
    found = measure(subject, "test")
    fixed, whole = found.numbers["fixed"], found.numbers["whole"]
    for name in ("std", "prototypes", "related"):
        assert fixed[name] == whole[name], name
    assert fixed["mean"]["value"] == whole["mean"]["value"] > 0
    assert set(found.tables[PURITY]["view"]) == {"64x96 squash", "64x96 whole squash"}
