import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protoquant.doctor import perceptual_hash as module
from protoquant.doctor.perceptual_hash import SIDE, crowded, likeness, near_pairs, perceptual_hash
from tests.builders.pictures import picture


def thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def bits_apart(one: Image.Image, other: Image.Image) -> int:
    hashes = perceptual_hash(thumb(one)), perceptual_hash(thumb(other))
    assert None not in hashes
    return (hashes[0] ^ hashes[1]).bit_count()


def brute(hashes: np.ndarray, distance: int) -> list[list[int]]:
    n = len(hashes)
    pairs = ([i, j] for i in range(n) for j in range(i + 1, n))
    return [[i, j] for i, j in pairs if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= distance]


@st.composite
def crowds(draw):
    """Hashes that are near to each other more often than by chance: some bits of others are flipped."""
    hashes = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    flips = draw(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 63), max_size=14)), max_size=25))
    for base, flipped in flips:
        hashes.append(hashes[base % len(hashes)] ^ sum(1 << bit for bit in flipped))
    return np.array(sorted(set(hashes)), dtype=np.uint64)


@given(crowds(), st.integers(0, 20))
def test_all_near_pairs_are_found(hashes, distance):
    assert near_pairs(hashes, distance).tolist() == brute(hashes, distance)
    assert crowded(hashes, distance) == 0


def test_pairs_by_hand():
    hashes = np.array([0b0, 0b111, 0b1111, 2**64 - 1], dtype=np.uint64)
    assert near_pairs(hashes, 3).tolist() == [[0, 1], [1, 2]]
    assert near_pairs(hashes, 0).tolist() == []
    assert near_pairs(hashes[:0], 3).shape == (0, 2)


def test_a_bucket_that_is_too_large_is_passed_over_and_counted(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 3)
    low = np.array([1, 2, 4, 8], dtype=np.uint64)  # equal but in the first band
    assert near_pairs(low, 2).tolist() == []
    assert crowded(low, 2) == 4
    assert near_pairs(low[:3], 2).tolist() == [[0, 1], [0, 2], [1, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_a_changed_picture_is_near_and_another_far(seed):
    one = picture(seed)
    assert bits_apart(one, one.resize((90, 90))) <= 4
    assert bits_apart(one, one.point(lambda level: int(0.8 * level) + 10)) <= 4
    assert bits_apart(one, picture(seed + 100)) > 16


def test_a_picture_without_contrast_has_no_hash():
    assert perceptual_hash(np.full((SIDE, SIDE, 3), 77, dtype=np.uint8)) is None
    noise = np.random.default_rng(0).integers(100, 104, (SIDE, SIDE, 3), dtype=np.uint8)
    assert perceptual_hash(noise) is None


def test_likeness_is_the_correlation_of_all_values():
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 256, (2, 4, SIDE, SIDE, 3), dtype=np.uint8)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, other, strict=True)]
    assert likeness(one, other) == pytest.approx(expected)
    assert likeness(one, one // 2) == pytest.approx(np.ones(4), abs=1e-3)
    assert likeness(one[:1], np.zeros_like(one[:1])).tolist() == [0.0]
