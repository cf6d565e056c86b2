import numpy as np

from protoquant.doctor.inspections.near_copies import crowded_hashes, near_copies
from tests.builders.photos import photo, thumb_of


def darker(seed: int) -> np.ndarray:
    return (0.8 * thumb_of(seed)).astype(np.uint8)


def test_near_pictures_are_grouped_and_others_are_not():
    photos = [
        photo("a", thumb=thumb_of(1)),
        photo("b", thumb=darker(1), split="test"),
        photo("c", thumb=thumb_of(2)),
        photo("d", thumb=thumb_of(3)),
        photo("e", thumb=darker(3)),
    ]
    across, within = sorted(near_copies(photos), key=lambda one: one.images[0].path)
    assert (across.kind, [image.path for image in across.images]) == ("near_duplicate_across_splits", ["a", "b"])
    assert (within.kind, [image.path for image in within.images]) == ("near_duplicate", ["d", "e"])
    assert across.sentence.startswith("2 almost equal images of 'ant' in train and test")
    assert crowded_hashes(photos) == 0


def test_two_labels_are_said():
    (found,) = near_copies([photo("a", thumb=thumb_of(1)), photo("b", thumb=darker(1), class_name="bee")])
    assert "with 2 labels, 'ant', 'bee' in train" in found.sentence


def test_equal_hashes_of_unlike_pictures_do_not_pair():
    assert near_copies([photo("a", hash=5), photo("b", hash=5), photo("c", hash=4)]) == []


def test_flat_pictures_and_equal_pixels_do_not_pair():
    flat = [photo(f"{level}", thumb=np.full((32, 32, 3), level, dtype=np.uint8)) for level in range(90, 120)]
    copies = [photo(f"c{number}", thumb=thumb_of(1), pixels=b"same") for number in range(3)]
    assert near_copies([*flat, *copies]) == []
    assert near_copies([]) == []


def test_three_of_a_chain_are_one_group():
    steps = [thumb_of(4), darker(4), (0.6 * thumb_of(4)).astype(np.uint8)]
    (found,) = near_copies([photo(f"{place}", thumb=step) for place, step in enumerate(steps)])
    assert len(found.images) == 3
