"""Pictures and cells by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protoquant.core.errors import ShapeError
from protoquant.data.table import ImageTable
from protoquant.explain.album import Album, Rect, see
from protoquant.model.region import CellRegion
from tests.builders.specs import preprocessing


@pytest.fixture
def album(made: dict[str, Path]) -> Album:
    """Pictures of 64 pixels: images of 80 x 60, of which the middle 64 x 48 is seen in 3 x 4 cells."""
    return Album(ImageTable.open(made["images"], made["root"]), preprocessing((48, 64), (60, 80)), (3, 4), 64, 80)


@pytest.fixture
def image_id(made: dict[str, Path]) -> str:
    """An image of the run."""
    return str(ImageTable.open(made["images"], made["root"]).split("test").frame["image_id"][0])


def test_a_picture_is_encoded_once_and_named_in_order(album: Album, image_id: str) -> None:
    first = album.picture(image_id)
    assert album.picture(image_id) is first
    assert (first.key, first.width, first.height) == ("p0", 64, 48)
    assert album.pictures == (first,)


def test_cells_tile_the_picture(album: Album, image_id: str) -> None:
    assert album.cell(image_id, 0, 0) == Rect(0.0, 0.0, 16.0, 16.0)
    assert album.cell(image_id, 2, 3) == Rect(48.0, 32.0, 16.0, 16.0)
    with pytest.raises(ShapeError, match=r"cell \(3, 0\) is not in the grid"):
        album.cell(image_id, 3, 0)


def test_a_region_spans_its_cells(album: Album, image_id: str) -> None:
    assert album.region(image_id, CellRegion(0, 1, 2, 4)) == Rect(16.0, 0.0, 48.0, 32.0)
    with pytest.raises(ShapeError, match=r"cell \(3, 3\) is not in the grid"):
        album.region(image_id, CellRegion(0, 1, 4, 4))


def test_surroundings_of_a_region_have_the_shape_of_a_cell(album: Album, image_id: str) -> None:
    """Twice the longer side, the region in the middle."""
    assert album.around(image_id, Rect(32.0, 8.0, 8.0, 16.0)) == Rect(20.0, 0.0, 32.0, 32.0)
    assert album.around(image_id, Rect(32.0, 0.0, 16.0, 32.0)) == Rect(0.0, 0.0, 64.0, 48.0)


def test_surroundings_stay_inside(album: Album, image_id: str) -> None:
    assert album.around(image_id, Rect(16.0, 16.0, 16.0, 16.0)) == Rect(8.0, 8.0, 32.0, 32.0)
    assert album.around(image_id, Rect(0.0, 32.0, 16.0, 16.0)) == Rect(0.0, 16.0, 32.0, 32.0)
    assert album.around(image_id, Rect(0.0, 0.0, 60.0, 40.0)) == Rect(0.0, 0.0, 64.0, 48.0)


def test_see_cuts_what_the_backbone_sees() -> None:
    image = Image.new("RGB", (120, 80), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 100, 80))
    view = see(image, preprocessing((64, 64), mode="center"), 40)
    assert view.size == (40, 40)
    assert (np.asarray(view)[:, 4:-4] == [0, 0, 255]).all()


def test_a_padded_view_is_shown_with_its_padding_and_cells_lie_on_all_of_it(
    made: dict[str, Path], image_id: str
) -> None:
    """Images of 80 x 60 in a square of 64: 48 rows of image, 8 of padding above and below."""
    table = ImageTable.open(made["images"], made["root"])
    album = Album(table, preprocessing((64, 64)).whole("border"), (4, 4), 64, 80)
    picture = album.picture(image_id)
    assert (picture.width, picture.height) == (64, 64)
    assert album.cell(image_id, 0, 1) == Rect(16.0, 0.0, 16.0, 16.0)
    assert album.cell(image_id, 3, 3) == Rect(48.0, 48.0, 16.0, 16.0)
    view = np.asarray(see(Image.new("RGB", (80, 60), (0, 0, 255)), preprocessing((64, 64)).whole("border"), 64))
    assert (view[:8] == 128).all()
    assert (view[56:] == 128).all()
    assert (view[8:56] == [0, 0, 255]).all()


def test_a_squashed_view_is_shown_in_the_shape_of_the_image() -> None:
    view = see(Image.new("RGB", (120, 60), (0, 0, 255)), preprocessing((64, 64)).whole("squash"), 40)
    assert view.size == (40, 20)
