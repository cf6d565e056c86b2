"""The picture of one explanation: numbers and places first, pixels after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protoquant.core.errors import DataError
from protoquant.explain.draw import explanation_figure, sheet
from protoquant.model.explanation import Contribution, Explanation, TrainPatch
from protoquant.model.region import CellRegion

SEEN = (20.0, 0.0, 100.0, 80.0)


@pytest.fixture
def explanation(tmp_path: Path) -> Explanation:
    """Three contributions on an image of 120 x 80 pixels, of which the backbone sees the middle 80 x 80."""
    crop = tmp_path / "crop.png"
    Image.new("RGB", (32, 32), (10, 200, 30)).save(crop)
    patch = TrainPatch(0, "train/$x$/0.png", 1, "wren $5", (0, 1), 0.9, crop)
    presence = np.array([[0.0, 0.5], [0.1, 0.2]])
    parts = tuple(
        Contribution(
            code,
            0.5,
            weight,
            0.5 * weight,
            (0, 1),
            (60.0, 0.0, 100.0, 40.0),
            CellRegion(0, 1, 1, 2),
            presence * 2 - 1,
            presence,
            patches,
        )
        for code, weight, patches in ((7, 4.0, (patch,)), (3, 2.0, ()), (5, 1.0, (replace(patch, crop=None),)))
    )
    return Explanation(1, "wren $5", 1, 0.875, 3.5, parts, 120, 80, SEEN, (2, 2), SEEN)


def test_sheet_by_hand(explanation: Explanation) -> None:
    found = sheet(explanation, Image.new("RGB", (120, 80)), 2)
    assert found.heading == "wren $5: predicted, probability 87.5 %"
    assert found.view.size == (480, 480)
    assert [row.contribution.code for row in found.rows] == [7, 3]
    assert found.rows[0].box == (240.0, 0.0, 480.0, 240.0)
    assert [len(row.train) for row in found.rows] == [1, 0]
    assert found.rows[0].share == pytest.approx(2.0 / 3.5)
    assert (found.others, found.rest, found.logit) == (1, 0.5, 3.5)
    assert sum(row.contribution.contribution for row in found.rows) + found.rest == found.logit


def test_the_box_is_the_whole_region(explanation: Explanation) -> None:
    wide = replace(explanation.contributions[0], region=CellRegion(0, 0, 1, 2))
    found = sheet(replace(explanation, contributions=(wide,)), Image.new("RGB", (120, 80)), 1)
    assert found.rows[0].box == (0.0, 0.0, 480.0, 240.0)


def test_a_patch_of_a_mixture_says_its_share(explanation: Explanation) -> None:
    part = explanation.contributions[0]
    patches = tuple(replace(part.patches[0], weight=weight) for weight in (0.416, 0.0, None))
    mixed = replace(explanation, contributions=(replace(part, patches=patches),))
    found = sheet(mixed, Image.new("RGB", (120, 80)), 2)
    assert found.rows[0].shares == ("42 % of it", "", "")
    assert explanation_figure(mixed, Image.new("RGB", (120, 80))).size[0] > 1000


def test_view_is_what_the_backbone_sees(explanation: Explanation) -> None:
    image = Image.new("RGB", (120, 80), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 100, 80))
    for size in ((120, 80), (60, 40)):
        view = np.asarray(sheet(explanation, image.resize(size, Image.Resampling.NEAREST), 1).view)
        assert (view[:, 60:-60] == [0, 0, 255]).all()


def test_another_image_is_refused(explanation: Explanation) -> None:
    with pytest.raises(
        DataError, match=r"must be the one that was explained, 120 x 80 pixels or that aspect, got 80 x 80"
    ):
        sheet(explanation, Image.new("RGB", (80, 80)), 2)


def test_a_class_that_was_not_predicted_is_said(explanation: Explanation) -> None:
    assert "not the predicted class" in sheet(replace(explanation, predicted=0), Image.new("RGB", (120, 80)), 1).heading


def test_figure_shows_the_crop_and_is_the_same_twice(explanation: Explanation) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8))
    first, second = (explanation_figure(explanation, image, 3) for _ in range(2))
    assert first.mode == "RGB"
    assert first.tobytes() == second.tobytes()
    pixels = np.asarray(first).astype(int)
    assert (abs(pixels - [10, 200, 30]).sum(axis=2) < 6).sum() > 2000, "the training patch is not drawn"
    assert (abs(pixels - [0xFF, 0xD4, 0x3B]).sum(axis=2) < 12).sum() > 200, "no box is drawn"


def test_an_explanation_without_contributions_is_drawn(explanation: Explanation) -> None:
    empty = replace(explanation, contributions=(), logit=0.0)
    assert explanation_figure(empty, Image.new("RGB", (120, 80))).width > 500


def test_a_padded_view_is_drawn_with_its_padding(explanation: Explanation) -> None:
    """The image of 120 x 80 in a square of 120: a cell is 60 pixels, the first row begins 20 above the image."""
    padded = replace(explanation, view=(0.0, 0.0, 120.0, 80.0), frame=(0.0, -20.0, 120.0, 100.0))
    found = sheet(padded, Image.new("RGB", (120, 80), (0, 0, 255)), 1)
    assert found.view.size == (480, 480)
    assert found.rows[0].box == (240.0, 0.0, 480.0, 240.0)
    pixels = np.asarray(found.view)
    assert (pixels[80:400] == [0, 0, 255]).all()
    assert (
        len({*map(tuple, pixels[:80].reshape(-1, 3).tolist()), *map(tuple, pixels[400:].reshape(-1, 3).tolist())}) == 1
    )
