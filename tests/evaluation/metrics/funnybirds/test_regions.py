"""Evidence inside regions, by hand and against maps of pixels that are really drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.metrics.funnybirds.regions import (
    as_importance,
    box_coverage,
    box_evidence,
    map_coverage,
    map_evidence,
    widened,
    with_whole,
)
from protoquant.evaluation.places.box import fixed_boxes

SIZE = (28, 42)


def masks(count: int, seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *size)) < 0.3


def test_a_mask_grows_by_two_pixels_also_across_corners_and_not_over_the_edge() -> None:
    held = np.zeros((2, 7, 9), dtype=bool)
    held[0, 3, 4] = held[1, 0, 0] = True
    expected = np.zeros_like(held)
    expected[0, 1:6, 2:7] = expected[1, :3, :3] = True
    assert np.array_equal(widened(held), expected)
    assert widened(np.zeros((0, 7, 9), dtype=bool)).shape == (0, 7, 9)


def test_parts_then_objects_then_the_whole_view() -> None:
    parts, objects = np.zeros((2, 4, 4), dtype=bool), np.ones((1, 4, 4), dtype=bool)
    found = with_whole(parts, objects)
    assert found.sum(axis=(1, 2)).tolist() == [0, 0, 16, 16]
    split = as_importance(np.arange(8.0).reshape(4, 2), 2)
    assert (split.parts.tolist(), split.objects.tolist(), split.total.tolist()) == ([[0, 1], [2, 3]], [[4, 5]], [6, 7])


def test_pixels_of_a_box_are_those_whose_centre_lies_in_it() -> None:
    held = np.zeros((1, 4, 4), dtype=bool)
    held[0, :, :2] = True
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 4.0, 4.0], [2.0, 0.0, 4.0, 4.0], [0.4, 0.6, 1.6, 4.0]])
    assert box_coverage(held, boxes).tolist() == [[4.0, 3.0, 0.0, 6.0]]


@given(seed=st.integers(0, 999), grid=st.sampled_from([(1, 1), (2, 3), (7, 7), (14, 14)]))
def test_both_explanations_are_the_sums_over_drawn_maps(seed: int, grid: tuple[int, int]) -> None:
    rng, t, k, c = np.random.default_rng(seed), grid[0] * grid[1], 6, 3
    held, boxes = masks(4, seed), fixed_boxes(grid, SIZE)
    scores, cells, shares = rng.random(k), rng.integers(t, size=k), rng.random((t, k))
    head = rng.random((c, k)) * (rng.random((c, k)) < 0.5)
    by_box = box_evidence(box_coverage(held, boxes), scores, cells, head)
    by_map = map_evidence(map_coverage(held, grid), shares, head)
    for label in range(c):
        drawn = np.zeros(SIZE)
        for p in range(k):
            left, top, right, bottom = boxes[cells[p]].astype(int)
            drawn[top:bottom, left:right] += head[label, p] * scores[p]
        assert by_box[:, label] == pytest.approx((held * drawn).sum(axis=(1, 2)))
        low = torch.tensor(shares @ head[label]).reshape(1, 1, *grid)
        large = torch.nn.functional.interpolate(low, size=SIZE, mode="bilinear", align_corners=False)[0, 0].numpy()
        assert by_map[:, label] == pytest.approx((held * large).sum(axis=(1, 2)))


def test_a_prototype_on_a_part_speaks_for_it_alone() -> None:
    """One prototype in the last of 2 x 3 cells; the part fills the corner, an object the opposite one."""
    part, thing = np.zeros((1, *SIZE), dtype=bool), np.zeros((1, *SIZE), dtype=bool)
    part[0, 20:, 34:] = thing[0, :4, :4] = True
    held, shares = with_whole(part, thing), np.zeros((6, 1))
    shares[5], head = 0.5, np.array([[2.0], [0.0]])
    for evidence in (
        map_evidence(map_coverage(held, (2, 3)), shares, head),
        box_evidence(box_coverage(held, fixed_boxes((2, 3), SIZE)), np.array([0.5]), np.array([5]), head),
    ):
        found = as_importance(evidence, 1)
        assert 0 < found.parts[0, 0] <= found.total[0]
        assert found.objects.tolist() == [[0.0, 0.0]]
        assert found.total[1] == 0.0
        assert found.important_parts(0, np.array([0.1]), with_objects=True).tolist() == [[True, False]]
