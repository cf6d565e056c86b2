import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protoquant.evaluation.places.part_view import MasksInView, PointsInView
from protoquant.features.object_cells import labels_in_view
from tests.builders.specs import preprocessing

HALVES = np.array([[0.0, 0.0, 10.0, 20.0], [10.0, 0.0, 20.0, 20.0]])


def points(*found: tuple[int, float, float]) -> PointsInView:
    part, x, y = zip(*found, strict=True) if found else ((), (), ())
    return PointsInView(np.array(part, dtype=np.int64), np.array(x, dtype=float), np.array(y, dtype=float), 3, (20, 20))


def test_a_point_on_the_edge_of_two_boxes_lies_in_both() -> None:
    hits = points((0, 3, 3), (2, 10, 20)).hits(HALVES)
    assert hits.tolist() == [[True, False, True], [False, False, True]]


def test_a_part_of_several_points_is_hit_by_any_of_them() -> None:
    assert points((1, 3, 3), (1, 13, 3)).hits(HALVES)[:, 1].tolist() == [True, True]


def test_points_beyond_the_view_are_not_visible_and_those_on_its_edge_are() -> None:
    assert points((0, -0.1, 3), (1, 0, 20), (2, 3, 20.1)).visible.tolist() == [False, True, False]


def test_an_image_without_points_has_nothing() -> None:
    assert not points().visible.any()
    assert not points().hits(HALVES).any()
    assert points().shares(HALVES) is None


def masks(*blocks: tuple[int, int, int, int, int], m: int = 2, side: int = 20) -> MasksInView:
    labels = np.zeros((side, side), dtype=np.uint8)
    for number, left, top, right, bottom in blocks:
        labels[top:bottom, left:right] = number
    return MasksInView(labels, m)


def test_a_part_is_hit_from_a_fiftieth_of_the_box() -> None:
    assert masks((1, 0, 0, 4, 1)).hits(HALVES)[0].tolist() == [True, False]  # 4 of 200 pixels
    assert masks((1, 0, 0, 3, 1)).hits(HALVES)[0].tolist() == [False, False]
    assert masks((1, 0, 0, 3, 1)).visible.tolist() == [True, False]


def test_the_body_belongs_to_the_object_and_is_no_part() -> None:
    seen = masks((3, 0, 0, 10, 10), (2, 0, 0, 5, 4))
    assert seen.visible.tolist() == [False, True]
    assert seen.shares(HALVES) == pytest.approx(np.array([[0.0, 0.1, 0.5], [0.0, 0.0, 0.0]]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_shares_are_what_counting_the_pixels_of_a_box_gives(seed: int, a: int, b: int, c: int, d: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (12, 12), dtype=np.uint8)
    (left, right), (top, bottom) = sorted((a, b)), sorted((c, d))
    cut = labels[top:bottom, left:right]
    expected = [float((cut == number).mean()) if cut.size else 0.0 for number in (1, 2, 3)]
    expected.append(float((cut > 0).mean()) if cut.size else 0.0)
    found = MasksInView(labels, 3).shares(np.array([[left, top, right, bottom]]))
    assert found[0] == pytest.approx(expected)


def test_labels_move_with_the_pixels_of_the_image() -> None:
    # A dark image with a bright square, of which the view keeps the middle.
    labels = np.zeros((40, 80), dtype=np.uint8)
    labels[12:20, 36:48] = 7
    view = preprocessing((20, 20), (24, 24), "center")
    pixels = np.asarray(view.apply(Image.fromarray(np.repeat(labels[:, :, None] * 30, 3, axis=2))))
    moved = labels_in_view(labels, view)
    assert moved.shape == (20, 20)
    assert set(np.unique(moved)) == {0, 7}
    assert np.mean((pixels[:, :, 0] > 105) == (moved == 7)) > 0.97


def test_what_pads_the_view_is_background() -> None:
    moved = labels_in_view(np.ones((10, 20), dtype=np.uint8), preprocessing((20, 20), (20, 20), "border"))
    assert moved[:5].max() == 0
    assert moved[5:15].min() == 1
    assert moved[15:].max() == 0
