import numpy as np

from protoquant.evaluation.places.placed_parts import PlacedParts

NAMES = ("beak", "left eye", "right eye")
MIRRORED = {"left eye": "right eye"}


def test_a_left_part_counts_as_its_right_twin() -> None:
    # Images: only the left side visible and hit; both visible, the left hit; only the right visible, not hit; neither.
    hits = np.array([[[0, 1, 0]], [[1, 1, 0]], [[0, 0, 0]], [[1, 0, 0]]], dtype=bool)
    visible = np.array([[0, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
    merged = PlacedParts(NAMES, hits, visible).merged(MIRRORED)
    assert merged.names == ("beak", "right eye")
    assert merged.hits[:, 0].tolist() == [[False, True], [True, True], [False, False], [True, False]]
    assert merged.visible.tolist() == [[False, True], [True, True], [True, True], [True, False]]


def test_shares_of_twins_add_up_and_the_original_stays() -> None:
    shares = np.array([[[0.1, 0.25, 0.5]]], dtype=np.float32)
    placed = PlacedParts(NAMES, shares >= 0.02, np.ones((1, 3), dtype=bool), shares, np.ones((1, 1)))
    assert placed.merged(MIRRORED).shares.tolist() == [[[np.float32(0.1), 0.75]]]
    assert placed.shares[0, 0].tolist() == [np.float32(0.1), 0.25, 0.5]


def test_without_twins_nothing_changes() -> None:
    placed = PlacedParts(NAMES, np.ones((2, 4, 3), dtype=bool), np.ones((2, 3), dtype=bool))
    merged = placed.merged({})
    assert merged.names == NAMES
    assert merged.hits.shape == (2, 4, 3)
