"""Bytes of joint training worked out by hand."""

from dataclasses import replace

import pytest

from protoquant.features.backbone.layers import LayerShape
from protoquant.head import joint_memory as module
from protoquant.head.config import JointConfig
from protoquant.head.joint_memory import JointSizes, joint_bytes, lack_of_memory

# 16 cells; an image has 16 x 2 + 4 x 8 = 64 numbers and 16 scales: 320 bytes.
LAYERS = (LayerShape("fine", (4, 4), 2), LayerShape("last", (2, 2), 8))
SIZES = JointSizes(LAYERS, images=50, views=1, classes=5, k=100, patches=3)
JOINT = JointConfig(batch=10)
SHARES = 4 * 10 * 16 * 100
OF_BATCH, OF_IMAGES, OF_HEAD = 2 * 10 * 320, 3 * 50 * 320, 8 * 4 * 5 * 100


def of_codes(copies: int) -> int:
    return copies * 4 * 100 * 10


def test_two_layers_seen_twice_in_the_heap() -> None:
    assert joint_bytes(JOINT, SIZES) == 8.5 * SHARES + OF_BATCH + OF_IMAGES + of_codes(10 + 2 * 3) + OF_HEAD == 678_400


def test_a_card_has_no_heap_and_one_copy_of_the_patches() -> None:
    expected = 6 * SHARES + OF_BATCH + OF_IMAGES + of_codes(10 + 3) + OF_HEAD
    assert joint_bytes(JOINT, replace(SIZES, heap=False)) == expected


def test_without_steadiness_an_image_is_seen_once() -> None:
    plain = JOINT.model_copy(update={"steadiness": 0.0})
    assert joint_bytes(JOINT, SIZES) - joint_bytes(plain, SIZES) == 1.5 * SHARES + OF_BATCH // 2


def test_free_codes_have_no_patches() -> None:
    assert joint_bytes(JOINT, SIZES) - joint_bytes(JOINT, replace(SIZES, patches=0)) == of_codes(2 * 3)


def test_large_blocks_do_not_come_from_the_heap(monkeypatch) -> None:
    whole = joint_bytes(JOINT, SIZES)
    monkeypatch.setattr(module, "HEAP", SHARES - 1)
    assert whole - joint_bytes(JOINT, SIZES) == 2.5 * SHARES


def test_directions_that_are_too_many_are_not_kept(monkeypatch) -> None:
    whole = joint_bytes(JOINT, SIZES)
    for most, less in ((2 * 50 * 320, 0), (2 * 50 * 320 - 1, OF_IMAGES)):
        monkeypatch.setattr(module, "KEPT", most)
        assert whole - joint_bytes(JOINT, SIZES) == less


def test_processes_share_a_batch() -> None:
    assert joint_bytes(JOINT, replace(SIZES, processes=3)) == joint_bytes(JOINT, SIZES, 4)


@pytest.mark.parametrize(("free", "lacks"), [(678_500, False), (678_499, True)])
def test_what_fits_to_the_byte_is_no_lack(free, lacks) -> None:
    assert (lack_of_memory(JOINT, SIZES, free, held=100) is not None) == lacks


def test_the_largest_batch_that_fits_is_named() -> None:
    # An image takes 8.5 x 6,400 + 2 x 320 bytes, the rest 128,000: (500,000 - 128,000) / 55,040 = 6.8
    assert lack_of_memory(JOINT, SIZES, 500_000) == (
        "train.joint.batch is 10 (params.yaml), and with 100 codes on 16 cells joint training needs about 678 kB of "
        "memory, 500 kB are free: at most 6 fits; lower it, or quantize.keep or quantize.size"
    )


def test_where_no_batch_fits_codes_must_be_fewer() -> None:
    lack = lack_of_memory(JOINT, SIZES, 100_000)
    assert lack is not None
    assert lack.endswith("100 kB are free: not even 1 fits; lower quantize.keep or quantize.size")
