"""Changes of images whose pixels are known."""

import numpy as np
import pytest
from PIL import Image

from protoquant.evaluation.changes.perturb import PERTURBATIONS, blur, jpeg, noise, shift
from tests.builders.specs import preprocessing

WHOLE = preprocessing((56, 56))


def numbered(width: int, height: int) -> Image.Image:
    """Red holds the column, green the row."""
    rows, cols = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([cols, rows, np.full_like(rows, 9)], axis=2).astype(np.uint8))


def test_shift_moves_every_pixel_and_mirrors_the_edge() -> None:
    moved = np.asarray(shift(numbered(6, 5), 2, -1))
    assert moved.shape == (5, 6, 3)
    assert moved[0, :, 0].tolist() == [1, 0, 0, 1, 2, 3]
    assert moved[:, 2, 1].tolist() == [1, 2, 3, 4, 4]
    assert np.array_equal(np.asarray(shift(numbered(6, 5), 0, 0)), np.asarray(numbered(6, 5)))


def test_blur_leaves_flat_areas_and_softens_edges() -> None:
    flat = Image.new("RGB", (20, 20), (40, 90, 200))
    assert np.array_equal(np.asarray(blur(flat, 1.0)), np.asarray(flat))
    edge = Image.fromarray(
        np.repeat(np.arange(20)[None, :, None] >= 10, 3, axis=2).repeat(20, axis=0).astype(np.uint8) * 255
    )
    soft = np.asarray(blur(edge, 1.0))[10, :, 0].astype(int)
    assert 0 < soft[9] < soft[10] < 255
    assert (np.diff(soft) >= 0).all()


def test_lower_quality_changes_more() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    errors = [
        np.abs(np.asarray(jpeg(image, quality)).astype(int) - np.asarray(image)).mean() for quality in (95, 75, 50)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_noise_has_the_spread_asked_for_and_one_stream() -> None:
    grey = Image.new("RGB", (100, 100), (128, 128, 128))
    first, again, other = (
        np.asarray(noise(grey, 8.0, np.random.default_rng(seed))).astype(float) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(8.0, rel=0.03)
    assert first.mean() == pytest.approx(128.0, abs=0.2)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_change_gives_what_the_backbone_takes_and_the_same_twice(name: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    views = [PERTURBATIONS[name](image, WHOLE, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(*map(np.asarray, views))
    assert (views[0].size, views[0].mode) == ((56, 56), "RGB")
    assert not np.array_equal(np.asarray(views[0]), np.asarray(WHOLE.apply(image)))


def test_the_shift_is_a_small_share_of_the_view() -> None:
    """56 of 56 pixels are seen: 1 / 28 of them are 2."""
    image = numbered(56, 56)
    corners = set()
    for seed in range(12):
        seen = np.asarray(PERTURBATIONS["shift"](image, WHOLE, np.random.default_rng(seed))).astype(int)
        corners.add((seen[28, 28, 0] - 28, seen[28, 28, 1] - 28))
    assert corners == {(-2, -2), (-2, 2), (2, -2), (2, 2)}


def test_the_shift_is_a_share_of_each_side_for_itself() -> None:
    """Of 112 x 56 pixels: 4 across, 2 down."""
    wide = preprocessing((56, 112))
    seen = np.asarray(PERTURBATIONS["shift"](numbered(112, 56), wide, np.random.default_rng(0))).astype(int)
    assert (abs(seen[28, 56, 0] - 56), abs(seen[28, 56, 1] - 28)) == (4, 2)


def test_an_image_of_one_pixel_survives() -> None:
    for name, change in PERTURBATIONS.items():
        assert change(Image.new("RGB", (1, 1), (9, 9, 9)), WHOLE, np.random.default_rng(0)).size == (56, 56), name
