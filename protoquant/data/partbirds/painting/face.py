"""Beaks and eyes, drawn in the head's frame (origin at the centre of the head, x towards the beak)."""

import numpy as np

from protoquant.data.partbirds.painting.anatomy import Skeleton
from protoquant.data.partbirds.painting.curves import Points, ellipse, smooth
from protoquant.data.partbirds.painting.paint import Layer, Tile
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Scene

_BEAKS: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]], float]] = {
    # upper mandible, lower mandible, and the x from which the accent colours the tip
    "cone": (
        [(-3, -12), (10, -11), (24, -4), (35, 4), (20, 3), (-2, 3)],
        [(-2, 2), (20, 2), (29, 5), (16, 11), (2, 13), (-4, 9)],
        28,
    ),
    "dagger": (
        [(-3, -9), (8, -8), (28, -3), (54, 4), (28, 3), (-2, 3)],
        [(-2, 2), (28, 2), (49, 4), (26, 8), (4, 10), (-4, 8)],
        40,
    ),
    "hook": (
        [(-4, -14), (12, -15), (28, -8), (36, 6), (33, 21), (27, 12), (18, 5), (-2, 4)],
        [(-3, 3), (14, 4), (23, 9), (18, 15), (6, 16), (-4, 11)],
        29,
    ),
    "spoon": (
        [(-4, -10), (8, -9), (22, -3), (38, -3), (50, 2), (47, 6), (24, 5), (-2, 4)],
        [(-3, 3), (22, 4), (45, 6), (40, 11), (22, 10), (4, 12), (-4, 9)],
        42,
    ),
    "sickle": (
        [(-3, -8), (10, -9), (30, -6), (48, 6), (57, 24), (44, 12), (26, 3), (-2, 3)],
        [(-3, 2), (24, 2), (42, 12), (50, 21), (36, 13), (20, 8), (2, 9)],
        47,
    ),
    "toucan": (
        [(-5, -17), (12, -21), (36, -17), (53, -3), (56, 13), (46, 5), (22, 3), (-2, 3)],
        [(-4, 2), (22, 3), (44, 6), (49, 11), (32, 15), (10, 16), (-5, 12)],
        43,
    ),
}


def paint_beak(scene: Scene, skeleton: Skeleton) -> Layer | None:
    """Paint the beak at the front of the head."""
    variant = scene.bird.beak
    main, accent = scene.plumage.tint("beak", variant.colour), scene.plumage.tint("beak", variant.accent)
    frame = skeleton.head.child((23.0, 2.0), stretch=scene.pose.head_turn)
    upper, lower, tip = _BEAKS[variant.shape]
    tile = Tile(scene.size, main)
    unit = frame.scale
    for outline, colour in ((lower, darker(main, 0.18)), (upper, main)):
        points = smooth(outline)
        tile.fill(frame(points), colour, edge=darker(main, 0.55), edge_width=unit)
        tile.detail(frame(_beyond(points, tip)), mix(colour, accent, 0.85))
    gape = smooth([(-2, 3), *[(x, y) for x, y in upper[-3:-1]][::-1]], closed=False)
    tile.stroke(frame(gape), darker(main, 0.75), 1.3 * unit, 0.8)
    ridge = smooth([(x, y + 4.5) for x, y in upper[:4]], closed=False)[4:-2]
    tile.stroke(frame(ridge), lighter(main, 0.7), 2.0 * unit, 0.55)
    tile.detail(frame(ellipse(8, -3.5, 2.6, 1.3)), darker(main, 0.8), 0.85)
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, 5 * unit, 0.6)
        layer.rimmed(0.3)
    return layer


def _beyond(points: Points, x: float) -> Points:
    """The part of a shape to the right of x, with a slanted border."""
    cut = points.copy()
    cut[:, 0] = np.maximum(cut[:, 0], x + 0.25 * cut[:, 1])
    return cut


def paint_eye(scene: Scene, skeleton: Skeleton) -> Layer | None:
    """Paint the eye and the marking around it."""
    variant = scene.bird.eye
    iris, accent = scene.plumage.tint("eye", variant.colour), scene.plumage.tint("eye", variant.accent)
    turn = scene.pose.head_turn
    frame = skeleton.head.child((4.0 + 8.0 * turn, -6.0), stretch=0.5 + 0.5 * turn)
    tile = Tile(scene.size, accent)
    for marking in _markings(variant.shape):
        tile.fill(frame(marking), accent, edge=darker(accent, 0.35))
    _feathered(tile, frame(smooth(_FLOW, closed=False)), accent, frame.scale)
    radius = 8.0
    tile.fill(frame(ellipse(0, 0, radius + 1.6, radius + 1.6)), darker(accent, 0.75))
    tile.fill(frame(ellipse(0, 0, radius, radius)), iris)
    tile.detail(frame(ellipse(0, 1.2, radius * 0.86, radius * 0.8)), lighter(iris, 0.28), 0.7)
    tile.detail(frame(ellipse(0, 0, 4.8, 4.8)), (0.04, 0.04, 0.06))
    side = -1.0 if scene.pose.flip else 1.0
    x, y = scene.light.direction[0] * side * 2.6, scene.light.direction[1] * 2.6
    tile.detail(frame(ellipse(x, y, 1.9, 1.9)), (1.0, 1.0, 1.0), 0.95)
    tile.detail(frame(ellipse(-x * 0.9, -y * 0.9, 0.9, 0.9)), (1.0, 1.0, 1.0), 0.4)
    layer = tile.layer()
    if layer is not None:
        layer.rimmed(0.2)
    return layer


_FLOW = [(-20, 5), (-12, 1), (-4, 0)]


def _markings(shape: str) -> list[Points]:
    """Outlines of the marking around an eye at the origin."""
    if shape == "ring":
        return [ellipse(0, 0, 13.8, 13.2)]
    if shape == "mask":
        return [smooth([(14, 2), (9, -9), (-4, -11), (-18, -6), (-34, 4), (-20, 8), (-4, 10), (9, 9)])]
    if shape == "brow":
        return [
            smooth([(14, -4), (4, -15), (-12, -15), (-31, -4), (-14, -7), (2, -7), (9, -2)]),
            ellipse(0, 0, 9.5, 9.5),
        ]
    return [smooth([(7, 3), (0, -10), (-10, -4), (-20, 8), (-18, 22), (-6, 26), (4, 17)])]


def _feathered(tile: Tile, line: Points, colour: Colour, unit: float) -> None:
    """Draw a few fine plumage strokes along a line behind the eye."""
    shifts = np.array([(0.0, -3.0), (0.0, 0.0), (0.0, 3.0)])[:, None, :] * unit
    tile.strokes(line + shifts, darker(colour, 0.3), 0.8 * unit, 0.35)
