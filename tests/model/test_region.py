from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from protoquant.model.region import FAINTEST, HELD, CellRegion, peak_region
from tests.builders.specs import preprocessing

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5))
MAPS = npst.arrays(np.float32, SIDES, elements=st.integers(0, 12).map(lambda value: value / 16))


def peak_of(shares: np.ndarray) -> tuple[int, int]:
    row, col = np.unravel_index(shares.argmax(), shares.shape)
    return int(row), int(col)


def around(shares: np.ndarray, peak: tuple[int, int]) -> np.ndarray:
    """The map with 0 outside of what lies around its peak, found cell by cell."""
    kept, waiting = np.zeros_like(shares, dtype=np.float64), [peak]
    seen = {peak}
    while waiting:
        row, col = waiting.pop()
        kept[row, col] = shares[row, col]
        for cell in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            inside = 0 <= cell[0] < shares.shape[0] and 0 <= cell[1] < shares.shape[1]
            if inside and cell not in seen and shares[cell] >= FAINTEST * shares[peak]:
                seen.add(cell)
                waiting.append(cell)
    return kept


def rectangles(shape: tuple[int, int], peak: tuple[int, int]) -> list[CellRegion]:
    """Every rectangle with the peak in it, in row-major order."""
    (h, w), (row, col) = shape, peak
    spans = product(range(row + 1), range(col + 1), range(row + 1, h + 1), range(col + 1, w + 1))
    return [CellRegion(*span) for span in spans]


def held(values: np.ndarray, region: CellRegion) -> float:
    return float(values[region.top : region.bottom, region.left : region.right].sum())


def cells(region: CellRegion) -> int:
    return (region.bottom - region.top) * (region.right - region.left)


@given(MAPS)
def test_the_region_is_the_best_of_all_rectangles(shares: np.ndarray) -> None:
    peak = peak_of(shares)
    values, found = around(shares, peak), peak_region(shares, peak)
    assert found.top <= peak[0] < found.bottom
    assert found.left <= peak[1] < found.right
    assert held(values, found) >= HELD * values.sum()
    enough = [each for each in rectangles(shares.shape, peak) if held(values, each) >= HELD * values.sum()]
    assert found == min(enough, key=lambda each: (cells(each), -held(values, each), each))


@pytest.mark.parametrize(
    ("rows", "region"),
    [
        ([[0.0, 0.0, 0.0], [0.0, 0.9, 0.0]], (1, 1, 2, 2)),  # one cell
        ([[0.4, 0.4]], (0, 0, 1, 1)),  # half is enough
        ([[0.4, 0.4, 0.1]], (0, 0, 1, 2)),
        ([[0.3, 0.4, 0.2]], (0, 0, 1, 2)),  # of two cells, those with the larger sum
        ([[0.3, 0.4, 0.3]], (0, 0, 1, 2)),  # of equal sums, the first
        ([[0.2, 0.3, 0.2], [0.2, 0.4, 0.2], [0.2, 0.2, 0.2]], (0, 0, 2, 2)),  # 1.1 of 2.1
        ([[0.5, 0.04, 0.5, 0.5, 0.5]], (0, 0, 1, 1)),  # other peaks beyond a faint cell
        ([[0.5, 0.0], [0.0, 0.5]], (0, 0, 1, 1)),  # corners do not join
        ([[0.2] * 4] * 4, (0, 0, 2, 4)),  # a flat map: half of the cells
        ([[0.0] * 3] * 2, (0, 0, 1, 1)),  # nothing anywhere
    ],
)
def test_regions_worked_by_hand(rows: list[list[float]], region: tuple[int, int, int, int]) -> None:
    shares = np.array(rows, dtype=np.float32)
    assert peak_region(shares, peak_of(shares)) == region


def test_the_peak_is_inside_though_fewer_cells_beside_it_hold_half() -> None:
    shares = np.array([[0.5, 0.1, 0.45, 0.45]], dtype=np.float32)
    assert peak_region(shares, (0, 0)) == (0, 0, 1, 3)


def test_an_order_of_magnitude_is_around_the_peak_and_less_is_not() -> None:
    for second, region in ((0.0625, (0, 0, 1, 5)), (0.046875, (0, 0, 1, 1))):
        shares = np.array([[0.5, *[second] * 16]], dtype=np.float32)
        assert peak_region(shares, (0, 0)) == region


def test_a_region_in_pixels_spans_its_cells() -> None:
    """The image of 80 x 60 is seen as it is, in 3 x 4 cells of 20 x 20 pixels."""
    squash = preprocessing((60, 80), mode="squash")
    assert CellRegion(1, 0, 3, 2).box(squash.cell_box, (3, 4), (80, 60)) == pytest.approx((0, 20, 40, 60))
    assert CellRegion(2, 3, 3, 4).box(squash.cell_box, (3, 4), (80, 60)) == squash.cell_box(2, 3, (3, 4), 80, 60)


def test_a_region_that_reaches_into_padding_is_clipped_as_its_cells_are() -> None:
    """An image of 80 x 40 in a square: of 4 rows of 20 pixels the first and the last are padding."""
    padded = preprocessing((80, 80)).whole("border")
    whole = CellRegion(0, 1, 3, 2)
    assert whole.box(padded.cell_box, (4, 4), (80, 40)) == pytest.approx((20, 0, 40, 40))
    assert whole.box(padded.cell_frame, (4, 4), (80, 40)) == pytest.approx((20, -20, 40, 40))
