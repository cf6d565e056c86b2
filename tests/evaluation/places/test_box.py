import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.places.box import cell_boxes, fixed_boxes, region_around


def rows_of(grid: int, side: int = 224) -> list[list[float]]:
    """Top and bottom of the boxes of the first column."""
    return fixed_boxes((grid, grid), (side, side))[::grid, [1, 3]].tolist()


@pytest.mark.parametrize(
    ("grid", "first", "last"),
    [
        (7, [[0, 32], [32, 64], [64, 96]], [192, 224]),
        (13, [[0, 32], [16, 48], [32, 64]], [192, 224]),
        (14, [[0, 32], [15, 47], [30, 62]], [192, 224]),
        (26, [[0, 32], [4, 36], [12, 44]], [192, 224]),
        (28, [[0, 32], [7, 39], [14, 46]], [192, 224]),
    ],
)
def test_golden_rows_of_pip_net(grid: int, first: list[list[float]], last: list[float]) -> None:
    rows = rows_of(grid)
    assert rows[:3] == first
    assert rows[-1] == last
    assert len(rows) == grid


def test_the_fine_grid_is_pip_nets_to_the_last_row() -> None:
    expected = [[max(0, (row - 1) * 8 + 4), max(0, (row - 1) * 8 + 4) + 32] for row in range(25)] + [[192, 224]]
    assert rows_of(26) == expected


def test_the_step_of_14_cells_leaves_the_last_two_boxes_apart() -> None:
    assert rows_of(14)[-2:] == [[180, 212], [192, 224]]


def test_another_side_is_measured_in_sevenths() -> None:
    assert rows_of(7, 260)[:2] == [[0, 37], [37, 74]]  # 260 / 7 = 37.1; (260 - 37) / 6 = 37.2
    assert rows_of(7, 260)[-1] == [223, 260]
    assert rows_of(16, 518)[:2] == [[0, 74], [30, 104]]


def test_a_view_that_is_not_square_has_boxes_and_a_grid_of_its_own_for_each_side() -> None:
    boxes = fixed_boxes((2, 3), (140, 70))
    assert boxes.tolist() == [
        [0, 0, 10, 20], [30, 0, 40, 20], [60, 0, 70, 20],
        [0, 120, 10, 140], [30, 120, 40, 140], [60, 120, 70, 140],
    ]  # fmt: skip


def test_a_single_cell_has_its_box_in_the_middle() -> None:
    assert fixed_boxes((1, 1), (224, 224)).tolist() == [[96, 96, 128, 128]]


def test_cells_cover_the_view() -> None:
    assert cell_boxes((2, 2), (10, 30)).tolist() == [[0, 0, 15, 5], [15, 0, 30, 5], [0, 5, 15, 10], [15, 5, 30, 10]]
    assert cell_boxes((7, 7), (224, 224)).tolist() == fixed_boxes((7, 7), (224, 224)).tolist()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(40, 600), st.integers(40, 600))
def test_every_box_has_the_same_size_lies_in_the_view_and_they_go_in_order(
    h: int, w: int, tall: int, wide: int
) -> None:
    boxes = fixed_boxes((h, w), (tall, wide))
    assert boxes.shape == (h * w, 4)
    assert np.all(boxes[:, 2] - boxes[:, 0] == round(wide / 7))
    assert np.all(boxes[:, 3] - boxes[:, 1] == round(tall / 7))
    assert boxes.min() >= 0
    assert np.all(boxes[:, 2] <= wide)
    assert np.all(boxes[:, 3] <= tall)
    assert np.all(np.diff(boxes[:w, 0]) >= 0)


def test_the_region_of_huang() -> None:
    assert region_around(100, 110, (224, 224)) == (74, 64, 147, 137)
    assert region_around(0, 223, (224, 224)) == (187, 0, 224, 37)
    assert region_around(224, 112, (448, 224)) == (76, 152, 149, 297)
