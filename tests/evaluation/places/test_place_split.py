"""Parts as an artifact, seen through the backbone's preprocessing."""

from pathlib import Path

import numpy as np
import pytest

from protoquant.core.errors import DataError
from protoquant.data.parts.table import PartTable
from protoquant.data.table import ImageTable
from protoquant.evaluation.places.part_view import PartView
from protoquant.evaluation.places.placed_parts import place_split
from protoquant.features.backbone.preprocessing import Preprocessing
from tests.builders.images import write_images
from tests.builders.parts import masks_of, points_of, write_parts_of
from tests.builders.pictures import picture
from tests.builders.specs import preprocessing

PARTS = ("beak", "tail")
NAMES = [f"test/{number:03d}.png" for number in range(3)]


def view_of(folder: Path, listing, view: Preprocessing, size: tuple[int, int] = (80, 40)) -> PartView:
    """Three test images of (width, height) with parts, in a view."""
    images = write_images(folder / "images", {"train": 0, "validation": 0, "test": 3}, draw=lambda n: picture(n, *size))
    parts = PartTable.open(write_parts_of(folder / "parts", images, listing), folder)
    return PartView.open(parts.split("test"), ImageTable.open(images, folder).split("test"), view)


def test_points_go_through_resize_and_crop(tmp_path: Path) -> None:
    # 80 x 40 becomes 56 x 28, of which the view keeps the 28 columns in the middle: x from 20 to 60.
    points = points_of({NAMES[0]: {0: (20.0, 0.0), 1: (61.0, 20.0)}, NAMES[1]: {0: (59.0, 39.0)}}, PARTS)
    view = view_of(tmp_path, points, preprocessing((28, 28), (28, 28), "center"))
    first, second, third = (view.of(name) for name in NAMES)
    assert (first.x.tolist(), first.y.tolist()) == (pytest.approx([0.0, 28.7]), pytest.approx([0.0, 14.0]))
    assert first.visible.tolist() == [True, False]
    assert (second.x.tolist(), second.y.tolist()) == (pytest.approx([27.3]), pytest.approx([27.3]))
    assert not third.visible.any()


def test_a_squashed_view_takes_each_axis_for_itself(tmp_path: Path) -> None:
    seen = view_of(tmp_path, points_of({NAMES[0]: {0: (80.0, 20.0)}}, PARTS), preprocessing((28, 28))).of(NAMES[0])
    assert (seen.x.tolist(), seen.y.tolist()) == ([28.0], [14.0])


def test_a_padded_view_moves_points_by_its_border(tmp_path: Path) -> None:
    view = preprocessing((28, 28), (28, 28), "border")
    seen = view_of(tmp_path, points_of({NAMES[0]: {0: (0.0, 0.0)}}, PARTS), view).of(NAMES[0])
    assert (seen.x.tolist(), seen.y.tolist()) == ([0.0], [7.0])  # 28 x 14 pixels with 7 above and below


def test_all_images_at_once_hold_what_each_holds(tmp_path: Path) -> None:
    labels = np.zeros((40, 80), dtype=np.uint8)
    labels[:20, 20:40], labels[20:, 40:60] = 1, 3
    masks = masks_of({NAMES[2]: labels, NAMES[0]: np.zeros_like(labels)}, PARTS)
    view = view_of(tmp_path, masks, preprocessing((28, 28), (28, 28), "center"))
    places = place_split(view, NAMES, (2, 2))
    assert places.positions.tolist() == [0, 2]
    cell = places.boxes["cell"]
    assert cell.names == PARTS
    assert cell.visible.tolist() == [[False, False], [True, False]]
    assert cell.hits[1].tolist() == [[True, False], [False, False], [False, False], [False, False]]
    assert cell.object_share.tolist() == [[0.0] * 4, [1.0, 0.0, 0.0, 1.0]]
    assert cell.shares[1, :, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    fixed = places.boxes["fixed"]  # 4 x 4 pixels in the corners
    assert fixed.object_share[1].tolist() == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(DataError, match="has no mask of parts"):
        view.of(NAMES[1])


def test_nothing_annotated_places_nothing(tmp_path: Path) -> None:
    places = place_split(view_of(tmp_path, points_of({}, PARTS), preprocessing((28, 28))), NAMES, (2, 2))
    assert places.boxes["fixed"].hits.shape == (0, 4, 2)
    assert places.boxes["fixed"].object_share is None
