import io

import numpy as np
import pytest
import torch
from PIL import Image

from protoquant.codebook.nearest_images import NearestImages
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ProgressEvent, ignore
from protoquant.data.table import ImageTable
from protoquant.features.store.store import FeatureStore
from protoquant.model.provenance import crop_name, cut_patch, provenance_table, write_crops
from tests.builders.specs import preprocessing

SQUARE = preprocessing((32, 32), mode="center")


def numbered(width: int, height: int) -> Image.Image:
    """Red holds the column, green the row."""
    rows, cols = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([cols, rows, np.full_like(rows, 9)], axis=2).astype(np.uint8))


def cut(cell: tuple[int, int], context: float, size: int = 512) -> np.ndarray:
    patch = cut_patch(numbered(64, 64), cell, (2, 2), preprocessing=SQUARE, context=context, size=size)
    return np.asarray(patch)


def test_patch_without_context_is_the_cell() -> None:
    patch = cut((1, 0), 0.0)
    assert patch.shape == (32, 32, 3)
    assert patch[0, 0].tolist() == [0, 32, 9]
    assert patch[-1, -1].tolist() == [31, 63, 9]


def test_patch_stays_in_the_middle_of_its_context() -> None:
    patch = cut((0, 0), 0.5)
    assert patch.shape == (64, 64, 3)
    assert patch[16, 16].tolist() == [0, 0, 9]
    assert patch[:16].min() == patch[:16].max() == 236  # beyond the image


def test_patch_is_scaled_down_never_up() -> None:
    assert cut((0, 0), 1.0, size=24).shape == (24, 24, 3)
    assert cut((0, 0), 0.0, size=500).shape == (32, 32, 3)


def test_table_names_image_label_and_cell(features) -> None:
    store = FeatureStore.open(features / "train")
    nearest = NearestImages(
        torch.tensor([[0.9, 0.8], [0.7, 0.6], [0.5, -2.0]]),
        torch.tensor([[4, 0], [1, 2], [5, -1]]),
        torch.tensor([[4, 0], [5, 1], [2, -1]]),
    )
    table = provenance_table([0, 2], nearest, store)
    assert table.to_dict("list") == {
        "code": [0, 0, 2],
        "rank": [0, 1, 0],
        "image_id": ["train/004.png", "train/000.png", "train/005.png"],
        "label": [1, 0, 2],
        "row": [1, 0, 0],
        "col": [1, 0, 2],
        "cosine": pytest.approx([0.9, 0.8, 0.5]),
    }


@pytest.fixture
def table(features):
    nearest = NearestImages(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[4, 0, 1]]), torch.tensor([[4, 0, 1]]))
    return provenance_table([0], nearest, FeatureStore.open(features / "train"))


def crops(folder, table, images, ranks, on_event=ignore) -> None:
    write_crops(
        folder,
        table,
        ImageTable.open(images, images.parent).split("train"),
        preprocessing=SQUARE,
        grid=(2, 3),
        ranks=ranks,
        context=1.0,
        size=48,
        on_event=on_event,
    )


def test_crops_are_the_same_bytes_twice(table, images, tmp_path) -> None:
    events = []
    crops(tmp_path / "a", table, images, 2, events.append)
    crops(tmp_path / "b", table, images, 2)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [crop_name(0, 0), crop_name(0, 1)]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert max(Image.open(io.BytesIO((tmp_path / "a" / name).read_bytes())).size) <= 48
    assert events[-1] == ProgressEvent("patch pictures", 2, 2)


def test_no_crops_no_folder(table, images, tmp_path) -> None:
    crops(tmp_path / "a", table, images, 0)
    assert not (tmp_path / "a").exists()


def test_a_lost_train_image_is_named(table, images, tmp_path) -> None:
    (images / "train" / "004.png").unlink()
    with pytest.raises(ArtifactError, match=r"train/004\.png is missing"):
        crops(tmp_path / "a", table, images, 2)


def test_a_patch_that_reaches_into_padding_is_whole_and_grey_there() -> None:
    """An image of 64 x 32 in a square: the cell of 32 pixels at the top left has 16 rows of padding, then image."""
    view = preprocessing((32, 32)).whole("border")
    patch = cut_patch(numbered(64, 32), (0, 0), (2, 2), preprocessing=view, context=0.0, size=512)
    pixels = np.asarray(patch)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[:16] == 236).all()
    assert pixels[16, 0].tolist() == [0, 0, 9]
    whole = cut_patch(numbered(64, 16), (0, 0), (4, 4), preprocessing=view, context=0.0, size=512)
    assert (np.asarray(whole) == 236).all()
