"""Frames and shapes, by hand."""

import numpy as np
import pytest

from protoquant.data.partbirds.painting.curves import Feather, Frame, ribbon, smooth, tapered

ROOT = Frame((2.0, 0.0, 0.0, 2.0), (10.0, 20.0))


def test_a_frame_scales_and_moves():
    assert ROOT([(0, 0), (1, 3)]).tolist() == [[10, 20], [12, 26]]
    assert ROOT.scale == 2


def test_a_child_turns_clockwise_because_y_points_down():
    child = ROOT.child((1.0, 0.0), angle=90.0)
    np.testing.assert_allclose(child([(0, 0), (1, 0)]), [[12, 20], [12, 22]], atol=1e-12)


def test_a_stretched_child_is_narrower_along_x():
    child = ROOT.child((0.0, 0.0), stretch=0.5)
    assert child([(1, 1)]).tolist() == [[11, 22]]


def test_a_mirrored_frame_keeps_its_scale():
    assert Frame((-3.0, 0.0, 0.0, 3.0), (0.0, 0.0)).scale == 3


def test_local_undoes_the_map():
    frame = ROOT.child((3.0, -2.0), angle=33.0, stretch=0.8)
    point = frame([(5.0, 7.0)]).astype(np.float32)
    u, v = frame.local(point[:, 0], point[:, 1])
    assert (u[0], v[0]) == (pytest.approx(5, abs=1e-4), pytest.approx(7, abs=1e-4))


@pytest.mark.parametrize("closed", [True, False])
def test_a_smooth_curve_goes_through_its_points(closed):
    knots = np.array([(0, 0), (4, 1), (5, 5), (-1, 4)], dtype=float)
    curve = smooth(knots, closed=closed, steps=5)
    np.testing.assert_allclose(curve[::5][:4], knots, atol=1e-12)
    assert len(curve) == (20 if closed else 16)


def test_a_smooth_curve_through_a_line_is_the_line():
    curve = smooth([(0, 0), (1, 0), (2, 0), (3, 0)], closed=False)
    assert np.abs(curve[:, 1]).max() == 0
    assert (np.diff(curve[:, 0]) > 0).all()


def test_a_ribbon_has_the_width_it_is_given():
    outline = ribbon([(0, 0), (10, 0), (20, 0)], [2, 4, 6])
    assert outline.tolist() == [[0, 1], [10, 2], [20, 3], [20, -3], [10, -2], [0, -1]]


def test_a_tapered_ribbon_narrows():
    outline = tapered([(0, 0), (10, 0)], 4.0, 1.0)
    assert outline[0].tolist() == pytest.approx([0, 2])
    assert outline[len(outline) // 2 - 1].tolist() == pytest.approx([10, 0.5])


def test_a_feather_lies_along_minus_x_within_its_length_and_width():
    outline = Feather(50.0, 12.0).outline()
    assert outline[:, 0].min() == pytest.approx(-50, abs=1e-9)
    assert outline[:, 0].max() <= 1e-9
    assert 10.5 < np.ptp(outline[:, 1]) <= 12


def test_a_pointed_feather_is_narrower_near_its_tip():
    blunt, pointed = (np.ptp(Feather(50.0, 12.0, point).outline(0.8, 0.9)[:, 1]) for point in (8.0, 2.0))
    assert pointed < 0.7 * blunt


def test_a_band_is_part_of_the_feather():
    band = Feather(50.0, 12.0).outline(0.4, 0.6)
    assert band[:, 0].max() == pytest.approx(-20, abs=1e-9)
    assert band[:, 0].min() == pytest.approx(-30, abs=1e-9)


def test_barbs_start_on_the_shaft():
    barbs = Feather(50.0, 12.0).barbs(0.1, 0.3)
    assert barbs.shape == (12, 2, 2)
    assert np.abs(barbs[:, 0, 1]).max() == 0
    np.testing.assert_allclose(np.abs(barbs[:, 1, 1]), 3.6)
