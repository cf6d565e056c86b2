"""Tiles, layers and the canvas."""

import numpy as np
import pytest

from protoquant.data.partbirds.painting.curves import ellipse
from protoquant.data.partbirds.painting.paint import Canvas, Layer, Tile, blurred, noise

SQUARE = np.array([(4.0, 4.0), (12.0, 4.0), (12.0, 12.0), (4.0, 12.0)])


def square_layer(colour=(1.0, 0.0, 0.0), shift=0.0):
    tile = Tile(32, colour)
    tile.fill(SQUARE + shift, colour)
    return tile.layer()


def blank():
    return Canvas(np.ones((32, 32, 3), dtype=np.float32))


def test_a_tile_covers_what_was_filled_and_nothing_else():
    layer = square_layer()
    y, x = np.nonzero(layer.alpha > 0.5)
    assert (x.min() + layer.left, x.max() + layer.left) == (4, 11)
    assert (y.min() + layer.top, y.max() + layer.top) == (4, 11)
    assert not layer.alpha[[0, -1]].any()
    assert not layer.alpha[:, [0, -1]].any()


def test_edges_are_anti_aliased():
    layer = square_layer(shift=0.5)
    assert ((layer.alpha > 0.2) & (layer.alpha < 0.8)).any()


def test_detail_and_strokes_colour_without_covering():
    tile = Tile(32, (1.0, 0.0, 0.0))
    tile.fill(SQUARE, (1.0, 0.0, 0.0))
    covered = square_layer().alpha
    tile.detail(SQUARE + 4, (0.0, 0.0, 1.0))
    tile.stroke(np.array([(0.0, 5.0), (30.0, 5.0)]), (0.0, 1.0, 0.0), 2.0)
    tile.strokes(np.array([[(0.0, 7.0), (30.0, 7.0)], [(0.0, 9.0), (9.0, 9.0)]]), (0.0, 1.0, 0.0), 1.0)
    layer = tile.layer()
    np.testing.assert_array_equal(layer.alpha, covered)
    assert layer.colour[11 - layer.top, 11 - layer.left].tolist() == [0, 0, 1]
    assert layer.colour[5 - layer.top, 8 - layer.left].tolist() == [0, 1, 0]


def test_a_tile_outside_the_canvas_has_no_layer():
    tile = Tile(32, (1.0, 0.0, 0.0))
    tile.fill(ellipse(-50.0, -50.0, 5.0, 5.0), (1.0, 0.0, 0.0))
    assert tile.layer() is None


def test_laying_covers_and_names_the_owner():
    canvas = blank()
    canvas.lay(square_layer(), 4)
    assert canvas.colour[8, 8].tolist() == [1, 0, 0]
    assert canvas.colour[20, 20].tolist() == [1, 1, 1]
    assert canvas.owner[8, 8] == 4
    assert canvas.owner[20, 20] == -1
    assert canvas.reach(4)[canvas.owner == 4].all()
    assert (canvas.reach(4) == (canvas.colour != 1).any(axis=2)).all()
    canvas.lay(square_layer((0.0, 0.0, 1.0), 4.0), 5)
    assert canvas.owner[10, 10] == 5
    assert canvas.owner[5, 5] == 4


def test_a_shadow_darkens_only_where_it_may():
    canvas = blank()
    onto = np.zeros((32, 32), dtype=bool)
    onto[:, :10] = True
    canvas.shade(square_layer().shadow((2, 2), 2.0, 0.5), 1, onto)
    assert canvas.colour[10, 8, 0] < 0.7
    assert (canvas.colour[:, 10:] == 1).all()
    changed = (canvas.colour != 1).any(axis=2)
    assert (canvas.reach(1) == changed).all()
    assert (canvas.owner == -1).all()


def test_shadows_together_are_as_deep_as_the_deepest():
    shadow = square_layer().shadow((0, 0), 1.0, 0.5)
    alone, both, everywhere = blank(), blank(), np.ones((32, 32), dtype=bool)
    alone.shade(shadow, 0, everywhere)
    both.shade_together([(shadow, 0), (shadow, 1)], everywhere)
    np.testing.assert_array_equal(alone.colour, both.colour)
    assert (both.reach(0) == both.reach(1)).all()


@pytest.mark.parametrize("shift", [(-40, 0), (40, 40), (-8, -8), (25, 0)])
def test_a_shadow_is_cut_at_the_canvas(shift):
    canvas = blank()
    shadow = square_layer().shadow(shift, 2.0, 0.5)
    rows, columns = shadow.window
    assert canvas.colour[rows, columns].shape[:2] == shadow.alpha.shape
    canvas.shade(shadow, 0, np.ones((32, 32), dtype=bool))
    assert canvas.colour.min() >= 0.5


def test_the_lit_side_is_brighter():
    layer = square_layer((0.5, 0.5, 0.5))
    layer.rounded((-1.0, 0.0), 3.0)
    row = layer.colour[8 - layer.top, :, 0]
    assert row[4 - layer.left] > row[11 - layer.left]


def test_the_rim_is_darker_than_the_middle():
    layer = square_layer((0.5, 0.5, 0.5))
    layer.rimmed(0.5)
    row = layer.colour[8 - layer.top, :, 0]
    assert row[4 - layer.left] < 0.45
    assert row[8 - layer.left] == pytest.approx(0.5, abs=0.01)


def test_blurring_keeps_a_constant_and_the_sum():
    assert blurred(np.full((9, 9), 0.25, dtype=np.float32), 2.0) == pytest.approx(0.25)
    point = np.zeros((21, 21), dtype=np.float32)
    point[10, 10] = 1
    assert blurred(point, 2.0).sum() == pytest.approx(1, abs=1e-5)


def test_noise_has_the_shape_and_comes_from_the_generator():
    one, same = (noise(np.random.default_rng(3), (20, 30), (4, 5)) for _ in range(2))
    assert one.shape == (20, 30)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, same)


def test_a_layer_knows_its_pixel_centres():
    layer = Layer(3, 5, np.zeros((2, 4), dtype=np.float32), np.zeros((2, 4, 3), dtype=np.float32), 32)
    x, y = layer.pixels()
    assert x.ravel().tolist() == [3.5, 4.5, 5.5, 6.5]
    assert y.ravel().tolist() == [5.5, 6.5]
