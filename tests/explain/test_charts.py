"""Two small charts in drawing units, by hand."""

import pytest

from protoquant.explain.charts import ROW, dots, histogram


def test_dots_lie_on_a_common_axis_that_ends_at_one() -> None:
    found = dots({"blur": [1.0, 0.9], "noise": [0.8, 0.85]}, ["answer", "first"], 400.0)
    assert (found.x.low, found.x.high) == (pytest.approx(0.8), 1.0)
    assert [[dot.x for dot in row.dots] for row in found.rows] == [[400.0, 200.0], [0.0, 100.0]]
    assert [row.y for row in found.rows] == [ROW / 2, 1.5 * ROW]
    assert found.height == 2 * ROW
    assert [row.top for row in found.rows] == [0.0, ROW]
    # A series has its own height within the row: equal values do not hide each other.
    assert [dot.y for dot in found.rows[1].dots] == [4 / 3 * ROW, 5 / 3 * ROW]
    assert found.rows[1].dots[1].text == "noise, first: 85.0 %"


def test_dots_that_are_all_at_one_have_an_axis() -> None:
    found = dots({"blur": [1.0, 1.0]}, ["a", "b"], 100.0)
    assert found.x.low < 1.0
    assert {dot.x for dot in found.rows[0].dots} == {100.0}


def test_histogram_counts_every_value_once() -> None:
    found = histogram([0.82, 0.93, 0.94, 1.0], "prototypes", 200.0, 100.0, bins=4)
    # Bins of 0.05 from 0.8; the axis of counts goes to 2.
    assert (found.x.low, found.x.high) == (pytest.approx(0.8), 1.0)
    assert [(bar.x, bar.height) for bar in found.bars] == [(0.75, 50.0), (100.75, 100.0), (150.75, 50.0)]
    assert found.bars[1].text == "2 prototypes from 0.90 to 0.95"
    assert [tick.text for tick in found.x.ticks] == ["0.8", "0.9", "1.0"]


def test_prototypes_that_are_patches_fill_the_last_bin() -> None:
    found = histogram([1.0, 1.0 + 1e-7], "prototypes", 200.0, 100.0)
    assert found.x.low == pytest.approx(0.9)
    assert len(found.bars) == 1
    assert found.bars[0].x + found.bars[0].width == pytest.approx(200.0 - 0.75)


def test_a_negative_cosine_is_on_the_axis() -> None:
    found = histogram([-0.25, 0.5], "prototypes", 130.0, 100.0)
    assert found.x.low == pytest.approx(-0.3)
    assert found.x.ticks[0].text == "-0.3"
