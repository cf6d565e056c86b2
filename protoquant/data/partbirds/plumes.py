"""Wings and tails: fans of single feathers over rows of coverts."""

from math import cos, sin

import numpy as np

from protoquant.data.partbirds.anatomy import SHOULDER, Skeleton
from protoquant.data.partbirds.curves import Frame, ellipse, feather, shaft, smooth
from protoquant.data.partbirds.paint import Layer, Tile
from protoquant.data.partbirds.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Scene


def _plume(
    tile: Tile, frame: Frame, length: float, width: float, colour: Colour,
    *, point: float = 6.0, bend: float = 0.0, bands: tuple[tuple[float, float, Colour], ...] = (),
) -> None:  # fmt: skip
    """Draw one feather along -x of its frame: vane, bands (start, end, colour), barbs and shaft."""
    unit = frame.scale
    tile.fill(frame(feather(length, width, point=point, bend=bend)), colour)
    for start, end, band in bands:
        tile.detail(frame(feather(length, width, point=point, bend=bend, start=start, end=end)), band, 0.92)
    under = frame(feather(length, width, point=point, bend=bend)[15:])
    tile.stroke(under, darker(colour, 0.6), 1.4 * unit, 0.5)
    above = frame(feather(length, width, point=point, bend=bend)[:15])
    tile.stroke(above, lighter(colour, 0.45), 0.9 * unit, 0.4)
    tile.stroke(frame(shaft(length, bend, np.linspace(0.1, 0.93, 8))), darker(colour, 0.5), 1.0 * unit, 0.55)
    for at in np.linspace(0.3, 0.86, 6).tolist():
        root = shaft(length, bend, [at])[0]
        for side in (-0.36, 0.36):
            barb = np.array([root, root + (-0.06 * length - 2.0, side * width)])
            tile.stroke(frame(barb), darker(colour, 0.55), 0.7 * unit, 0.16)


def paint_tail(scene: Scene, skeleton: Skeleton) -> Layer | None:
    """Paint the tail behind the body."""
    variant = scene.bird.tail
    main, accent = scene.plumage.tint("tail", variant.colour), scene.plumage.tint("tail", variant.accent)
    tile = Tile(scene.size, main)
    for angle, length, width, point, bend in _tail_feathers(variant.shape, scene.pose.tail_spread):
        shade = mix(main, darker(main, 0.3), min(abs(angle) / 40.0, 1.0))
        bands = _tail_bands(variant.shape, accent)
        _plume(
            tile, skeleton.tail.child((0, 0), angle=angle), length, width, shade, point=point, bend=bend, bands=bands
        )
    if variant.shape == "racket":
        for angle, bend in ((9.0, -0.10), (-9.0, 0.10)):
            frame = skeleton.tail.child((0, 0), angle=angle * scene.pose.tail_spread)
            x, y = shaft(88.0, bend, [1.0])[0].tolist()
            tile.fill(frame(ellipse(x, y, 12.0, 9.0)), accent, edge=darker(accent, 0.5), edge_width=frame.scale)
            tile.detail(frame(ellipse(x - 1.5, y, 6.0, 4.6)), lighter(accent, 0.45), 0.7)
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, 4 * skeleton.tail.scale, 0.5)
        layer.rimmed(0.3)
    return layer


def _tail_feathers(shape: str, spread: float) -> list[tuple[float, float, float, float, float]]:
    """(angle, length, width, tip, bend) of each feather, outermost first, so that the middle one lies on top."""
    fans: dict[str, tuple[int, float, float, float, float, float]] = {
        # feathers, half angle, length of the middle, of the outer ones, width, tip
        "fan": (7, 31.0, 70.0, 64.0, 24.0, 8.0),
        "fork": (6, 15.0, 50.0, 92.0, 15.0, 3.0),
        "wedge": (7, 19.0, 88.0, 46.0, 18.0, 3.0),
        "stub": (5, 15.0, 45.0, 43.0, 21.0, 9.0),
        "racket": (5, 13.0, 52.0, 42.0, 17.0, 4.0),
    }
    count, half, middle, outer, width, point = fans[shape]
    feathers = []
    for place in np.linspace(-1.0, 1.0, count).tolist():
        length = middle + (outer - middle) * abs(place) ** 1.4
        bend = 0.10 * place if shape == "fork" else 0.0
        feathers.append((half * place * spread, length, width, point, -bend))
    feathers.sort(key=lambda item: -abs(item[0]))
    if shape == "racket":
        feathers = [(9.0 * spread, 86.0, 5.0, 8.0, -0.10), (-9.0 * spread, 86.0, 5.0, 8.0, 0.10), *feathers]
    return feathers


def _tail_bands(shape: str, accent: Colour) -> tuple[tuple[float, float, Colour], ...]:
    if shape == "fan":
        return ((0.80, 1.0, accent),)
    if shape == "wedge":
        return ((0.42, 0.54, accent), (0.68, 0.80, accent))
    if shape == "fork":
        return ((0.86, 1.0, accent),)
    return ((0.62, 0.80, accent),) if shape == "stub" else ()


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
    _flight_feathers(tile, frame, variant.shape, main, accent, opened)
    _coverts(tile, frame, variant.shape, main, accent)
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, 6 * frame.scale, 0.55)
        layer.rimmed(0.3)
    return layer


def _flight_feathers(tile: Tile, frame: Frame, shape: str, main: Colour, accent: Colour, opened: float) -> None:
    """Secondaries (short, near the body) under primaries (long), the leading one on top."""
    long = 106.0 if shape == "pointed" else 88.0
    point = 2.6 if shape == "pointed" else 6.0
    for place in np.linspace(1.0, 0.0, 9).tolist():
        angle = (30.0 * place - 2.0) * (1.0 + 0.9 * opened) * -1.0
        root = (-6.0 - 14.0 * (1.0 - place), 2.0 + 9.0 * place)
        length = long * (1.0 - 0.50 * place**0.8)
        colour = mix(main, darker(main, 0.35), 0.5 + 0.5 * (1.0 - place))
        bands = _wing_bands(shape, accent)
        _plume(tile, frame.child(root, angle=angle), length, 19.0, colour, point=point, bend=0.03, bands=bands)


def _wing_bands(shape: str, accent: Colour) -> tuple[tuple[float, float, Colour], ...]:
    if shape == "barred":
        return ((0.38, 0.47, accent), (0.58, 0.67, accent), (0.78, 0.87, accent))
    if shape == "round":
        return ((0.74, 1.0, accent),)
    return ((0.55, 1.0, accent),) if shape == "pointed" else ()


def _coverts(tile: Tile, frame: Frame, shape: str, main: Colour, accent: Colour) -> None:
    """Small overlapping feathers over the roots of the long ones, and the marking that some wings wear on them."""
    unit = frame.scale
    outline = smooth([(10, -4), (2, -13), (-22, -14), (-46, -9), (-58, 0), (-48, 12), (-28, 22), (-4, 20), (8, 10)])
    tile.fill(frame(outline), lighter(main, 0.08))
    for row, (start, count, size) in enumerate(
        ((-50, 4, 17.0), (-37, 4, 15.0), (-24, 4, 13.0), (-11, 4, 11.0), (2, 3, 9.0))
    ):
        top, bottom = (-7.0, 15.0) if row < 4 else (-6.0, 11.0)
        for y in np.linspace(bottom, top, count).tolist():
            colour = mix(lighter(main, 0.12), darker(main, 0.12), 0.5 + 0.5 * sin(row * 2.1 + y))
            if shape == "shoulder" and row >= 2:
                colour = mix(accent, darker(accent, 0.15), 0.5 + 0.5 * cos(y))
            scale = feather(size * 1.15, size, point=8.0) + (start + 0.25 * y + size * 0.7, y)
            tile.fill(frame(scale), colour, edge=darker(colour, 0.55), edge_width=unit)
            if shape == "spotted":
                tile.detail(frame(ellipse(start + 0.25 * y - size * 0.18, y, 0.22 * size, 0.2 * size)), accent, 0.95)
