from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protoquant.export.resize import resize_and_crop
from protoquant.features.backbone.preprocessing import Interpolation, Mode, Preprocessing

MEAN = (0.485, 0.456, 0.406)
sides = st.integers(1, 160)


def both(image: np.ndarray, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """The crop by torch and by Pillow."""
    mine = resize_and_crop(torch.from_numpy(image)[None], preprocessing)[0].numpy()
    return mine, np.asarray(preprocessing.apply(Image.fromarray(image)))


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
@given(data=st.data())
def test_the_bytes_are_those_of_pillow(interpolation: Interpolation, data: st.DataObject) -> None:
    crop = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)) | st.just((48, 48)))
    share = data.draw(st.sampled_from([1.0, 0.95, 0.875, 0.5]))
    mode = data.draw(st.sampled_from(get_args(Mode)))
    preprocessing = Preprocessing.from_share(crop, share, mode=mode, interpolation=interpolation, mean=MEAN, std=MEAN)
    shape, hard = data.draw(st.tuples(sides, sides)), data.draw(st.booleans())
    image = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mine, pillow = both((image > 127).astype(np.uint8) * 255 if hard else image, preprocessing)
    assert np.array_equal(mine, pillow)


@given(height=sides, width=sides, mode=st.sampled_from(get_args(Mode)))
def test_hamming_differs_by_one_level_at_most(height: int, width: int, mode: Mode) -> None:
    """Its cosine is computed by another library than Pillow's; a weight can fall on the other side of a rounding."""
    preprocessing = Preprocessing((48, 48), (48, 48), mode, "hamming", MEAN, MEAN)
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mine, pillow = both(image, preprocessing)
    apart = np.abs(mine - pillow.astype(np.float32))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("size", "resize"),
    [
        ((300, 150), (90, 90)),  # 210 rows less, 60 columns less: the columns first
        ((150, 90), (90, 60)),  # 60 less and 30 less: just not
        ((151, 90), (90, 60)),  # 61 less and 30 less
        ((200, 40), (90, 80)),  # the width grows
        ((90, 200), (90, 80)),  # one pass alone
        ((200, 80), (90, 80)),
    ],
)
def test_the_order_of_the_passes_is_pillows(size: tuple[int, int], resize: tuple[int, int]) -> None:
    preprocessing = Preprocessing(resize, resize, "squash", "lanczos", MEAN, MEAN)
    image = np.random.default_rng(0).integers(0, 2, (*size, 3), dtype=np.uint8) * 255
    mine, pillow = both(image, preprocessing)
    assert np.array_equal(mine, pillow)


def test_a_batch_is_resized_image_by_image() -> None:
    preprocessing = Preprocessing((40, 40), (32, 32), "center", "bicubic", MEAN, MEAN)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8))
    together = resize_and_crop(images, preprocessing)
    for row in range(3):
        assert torch.equal(together[row], resize_and_crop(images[row : row + 1], preprocessing)[0])


def test_padding_is_the_mean_colour_and_beyond_a_small_image_black() -> None:
    white = torch.full((1, 10, 20, 3), 255, dtype=torch.uint8)
    padded = resize_and_crop(white, Preprocessing((20, 20), (20, 20), "border", "bilinear", MEAN, MEAN))[0]
    assert padded[0, 0].tolist() == [124.0, 116.0, 104.0]  # 255 * 0.485 = 123.7, 116.3, 103.5
    assert padded[10, 10].tolist() == [255.0, 255.0, 255.0]
    small = resize_and_crop(white, Preprocessing((10, 10), (14, 14), "squash", "bilinear", MEAN, MEAN))[0]
    assert small[0, 0].tolist() == [0.0, 0.0, 0.0]
    assert small[2, 2].tolist() == [255.0, 255.0, 255.0]
