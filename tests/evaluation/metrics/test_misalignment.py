"""Regions, changes of place, of rank and of activation, worked by hand on small maps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.metrics.misalignment import (
    Misalignment,
    Region,
    activation,
    location_change,
    misalignment,
    of_class,
    protected_region,
)

SIZE = (224, 224)


def peak(row: int, col: int, side: int = 7, height: float = 1.0) -> np.ndarray:
    """A map of zeros with one cell."""
    found = np.zeros((side, side))
    found[row, col] = height
    return found


def test_activation_is_the_cosine_moved_to_zero_and_one() -> None:
    similarity = torch.tensor([[-1.0, 0.0], [0.5, 1.0], [0.0, 0.2], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    maps = activation(similarity, (2, 3))
    assert maps.shape == (2, 2, 3)
    assert maps[0] == pytest.approx(np.array([[0.0, 0.75, 0.5], [0.5, 0.5, 0.5]]))
    assert maps[1, 0].tolist() == pytest.approx([0.5, 1.0, 0.6])


def test_prototypes_of_a_class_are_its_largest_positive_weights() -> None:
    assert of_class(np.array([0.0, 3.0, 1.0, 2.0]), 2).tolist() == [False, True, False, True]
    assert of_class(np.array([0.0, 3.0, 0.0]), 2).tolist() == [False, True, False]
    assert of_class(np.array([1.0, 1.0, 1.0]), 2).tolist() == [True, True, False]
    assert of_class(np.ones(12)).sum() == 10


def test_region_is_centred_on_the_cell_and_grown() -> None:
    """Five percent of 224 x 224 pixels are a blob of about 50 across, 25 on each side of the cell's centre at 112."""
    found = protected_region(peak(3, 3), SIZE)
    assert found.left == found.top
    assert found.right == found.bottom
    assert found.left + found.right == 224
    blob = (found.right - found.left) - 20
    assert 46 <= blob <= 54


@pytest.mark.parametrize(("row", "col"), [(0, 0), (6, 6), (0, 6)])
def test_a_region_at_the_border_protects_the_last_row_and_column(row: int, col: int) -> None:
    found = protected_region(peak(row, col), SIZE)
    outside = found.outside(SIZE)
    assert float(outside[-1 if row else 0, -1 if col else 0]) == 0.0
    assert (found.right == 224) == (col == 6)
    assert (found.bottom == 224) == (row == 6)


def test_of_a_flat_map_everything_is_protected() -> None:
    assert protected_region(np.full((7, 7), 0.3), SIZE) == Region(0, 0, 224, 224)
    assert float(Region(0, 0, 224, 224).outside(SIZE).sum()) == 0.0


def test_growth_goes_with_each_side() -> None:
    """10 / 224 of 448 x 96 are 20 and 4 pixels; the bare region of a map as large as the view is the peak alone."""
    wide = np.zeros((96, 448))
    wide[40:80, 100:200] = 1.0  # more than 5 %, so the percentile is its height
    found = protected_region(wide, (96, 448))
    assert found == Region(100 - 20, 40 - 4, 200 + 20, 80 + 4)


def test_outside_counts_pixels() -> None:
    assert float(Region(1, 2, 3, 5).outside((6, 4)).sum()) == 24 - 6


def test_place_by_hand() -> None:
    """Maps as large as the view: of 100 pixels, those above the quantile 0.9 are counted, here 10 and 10."""
    before, after = np.zeros((10, 10)), np.zeros((10, 10))
    before[0], after[0, 5:], after[1, 5:] = 1.0, 1.0, 1.0
    # quantile 0.9 lies between the 90th and 91st of 100 values: 0 + 0.1 * (1 - 0) = 0.1
    assert location_change(before, after, (10, 10)) == pytest.approx(1 - 5 / 15)
    assert location_change(before, before, (10, 10)) == 0.0
    assert location_change(before, after[::-1], (10, 10)) == 1.0


def test_place_of_maps_without_a_peak() -> None:
    flat = np.full((4, 4), 0.5)
    assert location_change(flat, flat, (8, 8)) == 0.0
    assert location_change(flat, peak(1, 1, 4), (8, 8)) == 1.0


def test_rank_and_activation_by_hand() -> None:
    """Prototype 0 falls from 0.8 to 0.6; 1 (its own class's) and 2 stay at 0.7, 3 falls to 0.65, 4 stays below."""
    before = np.stack([peak(1, 1, 3, h) for h in (0.8, 0.7, 0.7, 0.75, 0.1)])
    after = np.stack([peak(1, 1, 3, h) for h in (0.6, 0.7, 0.7, 0.65, 0.1)])
    own = np.array([False, True, False, False, False])
    found = misalignment(before, after, 0, own, (24, 24))
    assert found == Misalignment(plc=0.0, prc=2.0, pac=pytest.approx(0.25))


def test_rank_counts_those_that_fall_behind() -> None:
    before = np.stack([peak(0, 0, 3, h) for h in (0.5, 0.9, 0.6)])
    after = np.stack([peak(0, 0, 3, h) for h in (0.7, 0.9, 0.6)])
    found = misalignment(before, after, 0, np.zeros(3, dtype=bool), (24, 24))
    assert (found.prc, found.pac) == (-1.0, pytest.approx(-0.4))


@given(seed=st.integers(0, 1000), side=st.integers(2, 9))
def test_nothing_changes_without_a_change(seed: int, side: int) -> None:
    maps = np.random.default_rng(seed).random((4, side, side))
    assert misalignment(maps, maps, 2, np.zeros(4, dtype=bool), (56, 64)) == Misalignment(0.0, 0.0, 0.0)


@given(row=st.integers(0, 8), col=st.integers(0, 8), side=st.integers(2, 9))
def test_the_centre_of_a_lone_peak_is_protected(row: int, col: int, side: int) -> None:
    row, col = row % side, col % side
    found = protected_region(peak(row, col, side), (56, 64))
    assert found.top <= (row + 0.5) * 56 / side <= found.bottom
    assert found.left <= (col + 0.5) * 64 / side <= found.right
