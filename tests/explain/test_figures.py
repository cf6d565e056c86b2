"""Charts in drawing units, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.explain.figures import PathPoint, axis, most_confused, path_curve, squares


def test_axis_is_widened_to_round_values() -> None:
    found = axis(0.83, 0.97, 300.0, 0.0, 5, percent=True)
    assert (round(found.low, 6), round(found.high, 6)) == (0.8, 1.0)
    assert [tick.text for tick in found.ticks] == ["80 %", "85 %", "90 %", "95 %", "100 %"]
    assert [tick.at for tick in found.ticks] == [300.0, 225.0, 150.0, 75.0, 0.0]
    assert found.at(0.9) == 150.0


@given(low=st.floats(0, 0.999), width=st.floats(0, 1))
def test_axis_holds_its_range_and_has_distinct_ticks(low: float, width: float) -> None:
    high = min(1.0, low + width)
    found = axis(low, high, 0.0, 100.0, 5, percent=True)
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9
    assert len({tick.text for tick in found.ticks}) == len(found.ticks) >= 2


def test_path_is_logarithmic_and_marks_the_chosen_point() -> None:
    path = [
        PathPoint("0.05", 8.0, 0.9, "dense", chosen=False),
        PathPoint("0.05", 2.0, 0.8, "sparse", chosen=True),
        PathPoint("0.03", 4.0, 0.7, "other", chosen=False),
        PathPoint("0.03", 0.0, 0.1, "empty", chosen=False),
        PathPoint("0.03", 0.9, 0.2, "too few", chosen=False),
    ]
    found = path_curve(path, 0.95, 200.0, 100.0)
    assert [tick.text for tick in found.x.ticks] == ["2", "4", "8"]
    assert [(point.text, point.x, point.chosen) for point in found.points] == [
        ("other", 100.0, False),
        ("sparse", 0.0, True),
        ("dense", 200.0, False),
    ]
    assert [(line.main, line.points.count(",")) for line in found.lines] == [(False, 1), (True, 2)]
    assert found.level is not None
    assert found.level < found.points[2].y < found.points[1].y < found.points[0].y


def test_the_axis_of_accuracy_ends_at_100_percent() -> None:
    path = [PathPoint("a", 2.0, 0.96, "sparse", chosen=False), PathPoint("a", 4.0, 1.0, "dense", chosen=True)]
    assert path_curve(path, 0.9, 200.0, 100.0).y.ticks[-1].text == "100 %"


def test_path_without_any_head_still_has_axes() -> None:
    found = path_curve([], 0.9, 200.0, 100.0)
    assert (found.points, found.lines) == ((), ())
    assert len(found.y.ticks) >= 2


def test_squares_are_the_cells_that_hold_images() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    found = squares(matrix)
    assert [(one.row, one.col, one.count, one.right) for one in found] == [
        (0, 0, 3, True),
        (0, 1, 1, False),
        (2, 0, 2, False),
        (2, 2, 2, True),
    ]
    assert found[1].share == pytest.approx(0.25)
    assert [(one.row, one.col) for one in most_confused(matrix, 5)] == [(2, 0), (0, 1)]
    assert len(most_confused(matrix, 1)) == 1
