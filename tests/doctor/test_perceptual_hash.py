import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protoquant.doctor import perceptual_hash as module
from protoquant.doctor.inspections.near_copies import ALIKE
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


def test_likeness_is_the_correlation_of_slopes():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across, down = (np.repeat(np.square(each / 2).astype(np.uint8)[..., None], 3, axis=2) for each in (columns, rows))
    # The slopes of one lie where the other has none: z-scores of (x, 0) and (0, x) correlate by minus one at most.
    assert likeness(across[None], down[None])[0] < 0
    for one in (across, down, thumb(picture(5))):
        assert likeness(one[None], one[None])[0] == pytest.approx(1)
        assert likeness(one[None], one[None] // 2 + 40)[0] > 0.97
    assert likeness(across[None], np.zeros_like(across)[None]).tolist() == [0.0]


def test_objects_on_one_plain_background_are_not_alike():
    def scene(colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> np.ndarray:
        image = Image.new("RGB", (SIDE, SIDE), (80, 80, 150))
        image.paste((250, 250, 250), (12, 8, 20, 26))
        image.paste(colour, box)
        return np.asarray(image)

    one, other = scene((250, 30, 30), (3, 10, 12, 17)), scene((30, 60, 230), (20, 8, 29, 15))
    assert np.corrcoef(one.mean(axis=2).ravel(), other.mean(axis=2).ravel())[0, 1] > 0.85
    assert likeness(one[None], other[None])[0] < ALIKE
