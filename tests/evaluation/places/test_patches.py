import numpy as np

from protoquant.evaluation.places.patches import sure_patches, top_patches

SCORES = np.array([[0.1, 0.9], [0.7, 0.5], [0.7, 0.6], [0.2, 0.1]])
CELLS = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])


def test_top_patches_go_by_presence_and_equal_ones_by_the_order_of_the_images() -> None:
    top = top_patches(SCORES, CELLS, 2)
    assert top.owner.tolist() == [0, 0, 1, 1]
    assert top.image.tolist() == [1, 2, 0, 2]
    assert top.cell.tolist() == [2, 4, 1, 5]
    assert top_patches(SCORES, CELLS, 10).counts.tolist() == [4, 4]


def test_sure_patches_are_those_above_a_half_and_a_prototype_may_have_none() -> None:
    sure = sure_patches(SCORES, CELLS)
    assert list(zip(sure.owner, sure.image, sure.cell, strict=True)) == [(0, 1, 2), (0, 2, 4), (1, 0, 1), (1, 2, 5)]
    assert sure_patches(SCORES, CELLS, 0.8).counts.tolist() == [0, 1]


def test_random_cells_keep_the_images_and_random_patches_the_number() -> None:
    top, rng = top_patches(np.random.default_rng(0).random((400, 5)), np.zeros((400, 5), dtype=int), 100), 7
    cells = top.random_cells(4, np.random.default_rng(rng))
    assert cells.image.tolist() == top.image.tolist()
    assert set(cells.cell.tolist()) == {0, 1, 2, 3}
    assert cells.cell.tolist() == top.random_cells(4, np.random.default_rng(rng)).cell.tolist()
    patches = top.random_patches(400, 4, np.random.default_rng(rng))
    assert patches.counts.tolist() == top.counts.tolist()
    assert 0 <= patches.image.min() < 40
    assert 360 < patches.image.max() < 400


def test_without_images_there_are_no_patches() -> None:
    empty = top_patches(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))
    assert (len(empty), empty.counts.tolist()) == (0, [0, 0, 0])
    assert len(empty.random_patches(0, 4, np.random.default_rng(0))) == 0
    assert len(top_patches(np.zeros((3, 0)), np.zeros((3, 0), dtype=int))) == 0
