"""Score maps as colour."""

import numpy as np

from protoquant.explain.heat import overlay, stretch


def test_stretch_by_hand() -> None:
    assert stretch(np.array([[0.0, 0.25], [0.125, 0.5]])).tolist() == [[0.0, 0.5], [0.25, 1.0]]
    assert stretch(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_the_hottest_cell_is_the_brightest_and_the_coldest_the_most_veiled() -> None:
    scores = np.zeros((4, 4))
    scores[1, 2] = 0.3
    picture = np.asarray(overlay(scores, 80, 80)).astype(int)
    assert picture.shape == (80, 80, 4)
    brightness = picture[:, :, :3].sum(axis=2)
    row, col = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (row // 20, col // 20) == (1, 2)
    assert picture[75, 5, 3] > picture[row, col, 3]


def test_colours_compare_the_cells_of_one_picture() -> None:
    scores = np.array([[0.0, 0.25], [0.125, 0.5]])
    assert np.array_equal(np.asarray(overlay(scores, 40, 40)), np.asarray(overlay(scores / 8, 40, 40)))


def test_maps_need_not_be_square() -> None:
    assert overlay(np.eye(2, 5), 50, 20).size == (50, 20)
