from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from protoquant.features.augment import Draw, View
from protoquant.features.config import AugmentConfig
from tests.builders.pictures import picture
from tests.builders.specs import preprocessing

PLAIN = preprocessing((64, 96), (73, 110), "center")
STILL = AugmentConfig(area=(1, 1), ratio=(1, 1), flip=0, brightness=0, contrast=0, saturation=0)
VIEW = View(1, 0, AugmentConfig())
DIGEST = "ab" * 32
CENTRED = Draw(1, 1, 0.5, 0.5, flip=False, brightness=1, contrast=1, saturation=1)

sides = st.integers(32, 400)
digests = st.integers(0, 2**64).map("{:064x}".format)


def same(one, other):
    return one.size == other.size and one.tobytes() == other.tobytes()


def test_a_view_is_named_by_seed_number_and_content_alone():
    assert VIEW.draw(DIGEST) == View(1, 0, AugmentConfig()).draw(DIGEST)
    assert same(VIEW.apply(picture(0, 150, 100), DIGEST, PLAIN), VIEW.apply(picture(0, 150, 100), DIGEST, PLAIN))
    others = [replace(VIEW, seed=1).draw(DIGEST), replace(VIEW, number=2).draw(DIGEST), VIEW.draw("cd" * 32)]
    assert len({VIEW.draw(DIGEST), *others}) == 4


def test_the_stream_stays_what_it_was():
    """Other numbers here would give other features for the same params."""
    drawn = VIEW.draw(DIGEST)
    assert (drawn.area, drawn.ratio, drawn.flip, drawn.saturation) == pytest.approx(
        (0.66233506, 0.84478900, False, 1.13435888)
    )


@pytest.mark.parametrize(
    ("draw", "box"),
    [
        (CENTRED, (50, 0, 150, 100)),
        (replace(CENTRED, area=0.25, across=1, down=0), (150, 0, 200, 50)),
        (replace(CENTRED, ratio=2), (0, 0, 200, 100)),
        (replace(CENTRED, ratio=4), (0, 25, 200, 75)),
        (replace(CENTRED, ratio=0.5, across=0), (0, 0, 50, 100)),
    ],
)
def test_boxes_worked_by_hand(draw, box):
    assert draw.box(200, 100, 1.0) == pytest.approx(box)


@given(width=sides, height=sides, digest=digests)
def test_the_crop_keeps_its_limits_and_lies_inside(width, height, digest):
    drawn = VIEW.draw(digest)
    left, top, right, bottom = drawn.box(width, height, 1.5)
    assert left >= 0
    assert top >= 0
    assert right <= width
    assert bottom <= height
    wide, high = right - left, bottom - top
    assert wide / high / 1.5 >= 0.75 * (1 - 1e-9)
    assert wide / high / 1.5 <= 1.3333 * (1 + 1e-9)
    largest = min(width, height * 1.5 * drawn.ratio) * min(height, width / 1.5 / drawn.ratio)
    assert 0.5 - 1e-9 <= wide * high / largest <= 1 + 1e-9
    assert all(0.8 <= factor <= 1.2 for factor in (drawn.brightness, drawn.contrast, drawn.saturation))


@given(extra=st.integers(0, 200), tall=st.booleans(), digest=digests)
@pytest.mark.parametrize("mode", ["center", "squash"])
def test_an_image_decoded_at_least_so_large_is_never_enlarged(mode, extra, tall, digest):
    preprocessing = replace(PLAIN, mode=mode)
    short = VIEW.at_least(preprocessing)
    width, height = (short, short + extra) if tall else (short + extra, short)
    left, top, right, bottom = VIEW.draw(digest).box(width, height, width / height if mode == "squash" else 96 / 64)
    assert right - left >= 96 - 1e-6
    assert bottom - top >= 64 - 1e-6


@pytest.mark.parametrize("size", [(32, 32), (40, 300), (300, 40), (96, 64)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_view_has_the_size_of_the_plain_one(size, mode):
    seen = VIEW.apply(picture(0, *size), DIGEST, replace(PLAIN, mode=mode))
    assert (seen.size, seen.mode) == ((96, 64), "RGB")


def test_without_changes_the_view_is_the_largest_crop():
    still = View(1, 0, STILL)
    whole = picture(0, 300, 200)
    assert same(still.apply(whole, DIGEST, PLAIN), whole.resize((96, 64), Image.Resampling.BICUBIC))
    squashed = picture(0, 300, 100).resize((96, 64), Image.Resampling.BICUBIC)
    assert same(still.apply(picture(0, 300, 100), DIGEST, replace(PLAIN, mode="squash")), squashed)


def test_flips_swap_left_and_right_and_leave_the_rest_as_it_was():
    never, always = (replace(VIEW, augment=AugmentConfig(flip=flip)) for flip in (0, 1))
    one, other = (view.apply(picture(0, 150, 100), DIGEST, PLAIN) for view in (never, always))
    assert same(ImageOps.mirror(one), other)


def test_about_the_share_of_flips_is_flipped():
    view = replace(VIEW, augment=AugmentConfig(flip=0.3))
    assert 260 < sum(view.draw(f"{number}").flip for number in range(1000)) < 340


@pytest.mark.parametrize(
    ("reach", "measure"),
    [
        ({"brightness": 0.5}, lambda pixels: pixels.mean()),
        ({"contrast": 0.5}, lambda pixels: pixels.mean(2).std()),
        ({"saturation": 0.5}, lambda pixels: (pixels.max(2) - pixels.min(2)).mean()),
    ],
    ids=["brightness", "contrast", "saturation"],
)
def test_each_colour_change_moves_its_own_measure_the_drawn_way(reach, measure):
    view = View(1, 0, STILL.model_copy(update=reach))
    name = next(iter(reach))
    before = measure(np.asarray(View(1, 0, STILL).apply(picture(0, 150, 100), DIGEST, PLAIN), dtype=float))
    for number in range(8):
        factor = getattr(view.draw(f"{number}"), name)
        after = measure(np.asarray(view.apply(picture(0, 150, 100), f"{number}", PLAIN), dtype=float))
        assert (after > before) == (factor > 1)


def test_grey_stays_grey():
    grey = picture(0, 150, 100).convert("L").convert("RGB")
    strong = View(1, 0, AugmentConfig(brightness=0.9, contrast=0.9, saturation=0.9))
    for number in range(8):
        pixels = np.asarray(strong.apply(grey, f"{number}", PLAIN))
        assert (pixels == pixels[:, :, :1]).all()


@pytest.mark.parametrize(
    ("size", "inside"), [((288, 96), np.s_[19:45]), ((96, 192), np.s_[:, 35:61]), ((300, 200), np.s_[:])]
)
def test_without_changes_the_view_of_a_padded_image_is_the_plain_one(size, inside):
    """But for the pixels at the edges of the image, as the one pads before the resize and the other after it."""
    padding, image = preprocessing((64, 96)).whole("border"), picture(0, *size)
    plain, seen = padding.apply(image), View(1, 0, STILL).apply(image, DIGEST, padding)
    change = abs(np.asarray(plain, dtype=int) - np.asarray(seen, dtype=int))
    assert change[inside].max() <= 1
    assert change.mean() < 2
