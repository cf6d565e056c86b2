"""Wings and tails: fans of single feathers over rows of coverts."""

from math import sin
from typing import TypeAlias

import numpy as np

from protoquant.data.partbirds.painting.anatomy import SHOULDER, Skeleton
from protoquant.data.partbirds.painting.curves import Feather, Frame, ellipse, smooth
from protoquant.data.partbirds.painting.paint import Layer, Tile
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Scene

Bands: TypeAlias = tuple[tuple[float, float], ...]
"""The bands of a feather in the accent colour: start and end, in shares of its length."""


def _plume(tile: Tile, frame: Frame, shape: Feather, colour: Colour, accent: Colour, bands: Bands) -> None:  # noqa: PLR0917
    """Draw one feather along -x of its frame: vane, bands, edges, shaft and barbs."""
    unit = frame.scale
    outline = frame(shape.outline())
    tile.fill(outline, colour)
    for start, end in bands:
        tile.detail(frame(shape.outline(start, end)), accent, 0.92)
    half = len(outline) // 2
    tile.stroke(outline[half:], darker(colour, 0.6), 1.4 * unit, 0.5)
    tile.stroke(outline[:half], lighter(colour, 0.45), 0.9 * unit, 0.4)
    tile.stroke(frame(shape.shaft()), darker(colour, 0.5), 1.0 * unit, 0.55)
    tile.strokes(frame(shape.barbs(0.08, 0.36)), darker(colour, 0.55), 0.7 * unit, 0.18)


def paint_tail(scene: Scene, skeleton: Skeleton) -> Layer | None:
    """Paint the tail behind the body."""
    variant = scene.bird.tail
    main, accent = scene.plumage.tint("tail", variant.colour), scene.plumage.tint("tail", variant.accent)
    tile = Tile(scene.size, main)
    for place, angle, shape in _tail_feathers(variant.shape):
        frame = skeleton.tail.child((0, 0), angle=angle * scene.pose.tail_spread)
        shade = mix(main, darker(main, 0.3), abs(place))
        _plume(tile, frame, shape, shade, accent, _tail_bands(variant.shape, place))
        if variant.shape == "racket" and abs(place) > 1.0:
            x, y = shape.shaft(0.0, 1.0)[-1].tolist()
            tile.fill(frame(ellipse(x, y, 12.0, 9.0)), accent, edge=darker(accent, 0.5), edge_width=frame.scale)
            tile.detail(frame(ellipse(x - 1.5, y, 6.0, 4.6)), lighter(accent, 0.45), 0.7)
    return _finished(tile, scene, 4 * skeleton.tail.scale)


_TAILS: dict[str, tuple[int, float, float, float, float, float]] = {
    # feathers, half angle, length in the middle, length outside, width, tip
    "fan": (7, 31.0, 70.0, 64.0, 24.0, 8.0),
    "fork": (6, 15.0, 48.0, 84.0, 16.0, 3.0),
    "wedge": (7, 19.0, 82.0, 46.0, 18.0, 3.0),
    "stub": (5, 15.0, 45.0, 43.0, 21.0, 9.0),
    "racket": (5, 13.0, 50.0, 42.0, 17.0, 4.0),
}


def _tail_feathers(shape: str) -> list[tuple[float, float, Feather]]:
    """(place, angle, feather) with place in [-1, 1] across the fan; outermost first, the middle one lies on top."""
    count, half, middle, outer, width, point = _TAILS[shape]
    feathers = []
    for place in np.linspace(-1.0, 1.0, count).tolist():
        length = middle + (outer - middle) * abs(place) ** 1.4
        feathers.append((place, half * place, Feather(length, width, point, -0.10 * place if shape == "fork" else 0.0)))
    feathers.sort(key=lambda item: -abs(item[0]))
    if shape == "racket":
        feathers = [(side * 1.1, side * 9.0, Feather(78.0, 5.0, 8.0, -0.10 * side)) for side in (1.0, -1.0)] + feathers
    return feathers


def _tail_bands(shape: str, place: float) -> Bands:
    bands: dict[str, Bands] = {"fan": ((0.80, 1.0),), "wedge": ((0.42, 0.54), (0.68, 0.80)), "stub": ((0.62, 0.80),)}
    if shape == "fork":
        return ((0.82, 1.0),) if abs(place) > 0.9 else ()
    return bands.get(shape, ())


def paint_wing(scene: Scene, skeleton: Skeleton, *, near: bool) -> Layer | None:
    """Paint the wing on the bird's near side, or the far one, which shows behind the body when wings are raised."""
    variant, pose = scene.bird.wing, scene.pose
    main, accent = scene.plumage.tint("wing", variant.colour), scene.plumage.tint("wing", variant.accent)
    opened = min(max(pose.wing_angle / 60.0, 0.0), 1.2)
    if not near:
        main, accent = darker(main, 0.3), darker(accent, 0.3)
    at = SHOULDER if near else (SHOULDER[0] + 10.0, SHOULDER[1] - 7.0)
    frame = skeleton.body.child(at, angle=4.0 + pose.wing_angle + (0.0 if near else 16.0 * opened))
    tile = Tile(scene.size, main)
    long, point, bands = _WINGS[variant.shape]
    for place in np.linspace(1.0, 0.0, 9).tolist():
        root = (-6.0 - 14.0 * (1.0 - place), 2.0 + 9.0 * place)
        flight = frame.child(root, angle=(2.0 - 30.0 * place) * (1.0 + 0.9 * opened))
        colour = mix(main, darker(main, 0.35), 1.0 - 0.5 * place)
        _plume(tile, flight, Feather(long * (1.0 - 0.5 * place**0.8), 19.0, point, 0.03), colour, accent, bands)
    _coverts(tile, frame, variant.shape, main, accent)
    return _finished(tile, scene, 6 * frame.scale)


_WINGS: dict[str, tuple[float, float, Bands]] = {
    # length of the longest feather, tip, bands
    "round": (88.0, 6.0, ((0.74, 1.0),)),
    "barred": (88.0, 6.0, ((0.38, 0.47), (0.58, 0.67), (0.78, 0.87))),
    "pointed": (106.0, 2.6, ((0.55, 1.0),)),
    "shoulder": (88.0, 6.0, ()),
    "spotted": (88.0, 6.0, ()),
}

_COVERTS = smooth([(10, -4), (2, -13), (-22, -14), (-46, -9), (-56, 0), (-48, 11), (-28, 20), (-4, 19), (8, 10)])


def _coverts(tile: Tile, frame: Frame, shape: str, main: Colour, accent: Colour) -> None:
    """Draw small overlapping feathers over the roots of the long ones, and the marking that some wings have there."""
    tile.fill(frame(_COVERTS), lighter(main, 0.05))
    for row in range(8):
        start, size = -46.0 + 7.0 * row, 17.0 - 0.9 * row
        top, bottom = -13.0 + 0.06 * row * row, 17.0 - 0.05 * row * row
        count = 4 - row % 2
        plume = Feather(size * 1.5, size * 0.92, 4.0)
        for place in np.linspace(0.0, 1.0, count).tolist():
            y = bottom + (top - bottom) * (place if row % 2 == 0 else 0.17 + 0.66 * place)
            x = start + 0.22 * (y - 2.0) + size * 0.7
            tone = 0.5 + 0.5 * sin(row * 2.1 + y)
            colour = mix(lighter(main, 0.14), darker(main, 0.14), tone)
            if shape == "shoulder" and row >= 3:
                colour = mix(lighter(accent, 0.1), darker(accent, 0.15), tone)
            scale = frame.child((x, y), angle=-0.5 * y)
            tile.fill(scale(plume.outline()), colour, edge=darker(colour, 0.5), edge_width=frame.scale)
            tile.stroke(scale(plume.shaft(0.2, 0.9)), lighter(colour, 0.4), 0.8 * frame.scale, 0.35)
            if shape == "spotted" and row % 2 == 0:
                tile.detail(scale(ellipse(-1.12 * size, 0, 0.27 * size, 0.25 * size)), accent, 0.95)


def _finished(tile: Tile, scene: Scene, radius: float) -> Layer | None:
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, radius, 0.55)
        layer.rimmed(0.3)
    return layer
