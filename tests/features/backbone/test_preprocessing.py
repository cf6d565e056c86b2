import dataclasses

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.features.backbone.preprocessing import Placement, Preprocessing
from tests.builders.specs import HALF

MEAN = (0.485, 0.456, 0.406)


def of(resize, crop, mode="center"):
    return Preprocessing(resize, crop, mode, "bicubic", HALF, HALF)


DEFAULT = of((256, 256), (224, 224))


@pytest.mark.parametrize(
    ("preprocessing", "size", "placed"),
    [
        (DEFAULT, (256, 256), Placement(256, 256, 16, 16)),
        (DEFAULT, (512, 256), Placement(512, 256, 144, 16)),
        (DEFAULT, (300, 400), Placement(256, 341, 16, 58)),  # 256 * 400 / 300 = 341.3; (341 - 224) / 2 = 58.5, to even
        (DEFAULT, (4000, 3000), Placement(341, 256, 58, 16)),
        (of((100, 100), (100, 100), "squash"), (300, 50), Placement(100, 100, 0, 0)),
        (of((128, 64), (112, 56), "squash"), (300, 50), Placement(64, 128, 4, 8)),
        (of((100, 100), (100, 100), "border"), (200, 100), Placement(100, 50, 0, -25)),
        (of((100, 100), (80, 80), "border"), (200, 100), Placement(100, 50, 10, -15)),
        (of((50, 100), (50, 100)), (200, 200), Placement(100, 100, 0, 25)),
        (of((50, 100), (50, 100)), (400, 100), Placement(200, 50, 50, 0)),
    ],
)
def test_placement_worked_by_hand(preprocessing, size, placed):
    assert preprocessing.placement(*size) == placed


@pytest.mark.parametrize(
    ("preprocessing", "size", "box"),
    [
        (DEFAULT, (256, 256), (16, 16, 240, 240)),
        (DEFAULT, (512, 512), (32, 32, 480, 480)),
        (DEFAULT, (512, 256), (144, 16, 368, 240)),
        (of((100, 100), (100, 100), "squash"), (300, 50), (0, 0, 300, 50)),
        (of((200, 200), (100, 100), "squash"), (400, 100), (100, 25, 300, 75)),
        (of((100, 100), (100, 100), "border"), (200, 100), (0, 0, 200, 100)),
    ],
)
def test_the_view_worked_by_hand(preprocessing, size, box):
    assert preprocessing.view_box(*size) == pytest.approx(box)


@pytest.mark.parametrize(
    ("preprocessing", "cell", "grid", "size", "box"),
    [
        (DEFAULT, (0, 0), (7, 7), (256, 256), (16, 16, 48, 48)),
        (DEFAULT, (6, 2), (7, 7), (256, 256), (80, 208, 112, 240)),
        (DEFAULT, (1, 0), (7, 7), (512, 512), (32, 96, 96, 160)),
        (of((50, 100), (50, 100)), (1, 2), (2, 4), (400, 100), (200, 50, 250, 100)),
        (of((100, 100), (100, 100), "border"), (1, 0), (4, 4), (200, 100), (0, 0, 50, 50)),
        (of((100, 100), (100, 100), "border"), (0, 0), (4, 4), (200, 100), (0, 0, 50, 0)),
    ],
)
def test_cells_worked_by_hand(preprocessing, cell, grid, size, box):
    assert preprocessing.cell_box(*cell, grid, *size) == pytest.approx(box)


@pytest.mark.parametrize("size", [(256, 256), (301, 517), (900, 70)])
def test_the_cells_tile_the_view(size):
    rows, cols = 3, 5
    boxes = [DEFAULT.cell_box(row, col, (rows, cols), *size) for row in range(rows) for col in range(cols)]
    left, top, right, bottom = DEFAULT.view_box(*size)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    assert area == pytest.approx((right - left) * (bottom - top))


@pytest.mark.parametrize("cell", [(-1, 0), (7, 0), (0, 7)])
def test_a_cell_outside_the_grid_is_an_error(cell):
    with pytest.raises(ShapeError, match="is not in the grid of 7 x 7 cells"):
        DEFAULT.cell_box(*cell, (7, 7), 256, 256)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop", [(64, 64), (48, 80)])
@pytest.mark.parametrize("size", [(73, 73), (100, 61), (61, 101), (200, 40), (50, 50), (30, 44)])
@pytest.mark.parametrize("share", [1.0, 0.875])
def test_pixels_are_those_of_timm(mode, crop, size, share):
    mine = Preprocessing.from_share(crop, share, mode=mode, interpolation="bicubic", mean=MEAN, std=HALF)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    timm = transforms_imagenet_eval(
        crop, crop_pct=share, crop_mode=mode, interpolation="bicubic", mean=MEAN, std=HALF, normalize=False
    )
    assert np.array_equal(np.asarray(mine.apply(image)).transpose(2, 0, 1), timm(image).numpy())


def test_plain_values_there_and_back():
    assert Preprocessing.from_dict(DEFAULT.to_dict()) == DEFAULT
    assert DEFAULT.to_dict()["resize"] == [256, 256]
    with pytest.raises(ArtifactError, match="preprocessing holds other keys"):
        Preprocessing.from_dict({"resize": [1, 1], "scale": 2})


def test_the_longer_target_side_decides_how_large_to_decode():
    assert dataclasses.replace(DEFAULT, resize=(100, 300)).at_least == 300


WIDE = {"squash": of((96, 96), (64, 64)).whole("squash"), "border": of((96, 96), (64, 64)).whole("border")}


@pytest.mark.parametrize(
    ("mode", "cell", "box"),
    [
        ("squash", (2, 6), (150, 25, 175, 37.5)),  # a cell of an eighth of each side
        ("border", (3, 6), (150, 25, 175, 50)),  # the image fills rows 2 to 5 of the eight
    ],
)
def test_a_square_of_a_whole_image_of_2_to_1_lands_in_its_cell(mode, cell, box):
    view = WIDE[mode]
    assert view.cell_box(*cell, (8, 8), 200, 100) == pytest.approx(box)
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    image.paste((0, 0, 255), tuple(map(round, box)))
    blue = np.asarray(view.apply(image))[:, :, 2].astype(float)
    cells = blue.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    if mode == "border":  # the margins are grey
        assert blue[:16].min() == blue[:16].max() == blue[48:].min() == blue[48:].max() == 128
        cells = cells * (cells != 128)
    assert np.unravel_index(cells.argmax(), cells.shape) == cell
    assert cells[cell] > 200


def test_frames_reach_into_the_padding_and_are_the_boxes_elsewhere():
    border = WIDE["border"]
    assert border.view_box(200, 100) == pytest.approx((0, 0, 200, 100))
    assert border.frame(200, 100) == pytest.approx((0, -50, 200, 150))
    assert border.cell_frame(0, 1, (4, 4), 200, 100) == pytest.approx((50, -50, 100, 0))
    assert border.cell_box(0, 1, (4, 4), 200, 100) == pytest.approx((50, 0, 100, 0))
    for view in (WIDE["squash"], DEFAULT):
        assert view.frame(301, 200) == view.view_box(301, 200)
        assert view.cell_frame(1, 2, (3, 3), 301, 200) == view.cell_box(1, 2, (3, 3), 301, 200)


@pytest.mark.parametrize(("mode", "size"), [("squash", (64, 64)), ("border", (64, 32))])
def test_a_whole_view_holds_all_of_the_image(mode, size):
    view = WIDE[mode]
    assert (view.resize, view.crop, view.mode) == ((64, 64), (64, 64), mode)
    assert (view.placement(200, 100).width, view.placement(200, 100).height) == size


@pytest.mark.parametrize(
    ("view", "larger", "not_larger"),
    [
        (DEFAULT, (255, 400), (256, 400)),
        (WIDE["squash"], (400, 63), (64, 64)),
        (WIDE["border"], (63, 30), (64, 10)),
    ],
)
def test_an_image_below_what_the_resize_asks_for_is_enlarged(view, larger, not_larger):
    assert view.enlarges(*larger)
    assert not view.enlarges(*not_larger)


def test_padding_to_the_shape_of_the_crop_keeps_the_pixels():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8))
    padded = of((50, 50), (50, 50), "border").padded(image)
    assert padded.size == (200, 200)
    assert padded.crop((0, 50, 200, 150)).tobytes() == image.tobytes()
    assert (np.asarray(padded.crop((0, 0, 200, 50))) == 128).all()
