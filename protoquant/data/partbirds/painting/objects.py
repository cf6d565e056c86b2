"""Objects around the bird: its support, objects behind it, and objects in front of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from protoquant.data.partbirds.painting.curves import Feather, Frame, Points, ellipse, ribbon, smooth, tapered
from protoquant.data.partbirds.painting.paint import Layer, Tile, blurred, noise
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Light, ObjectKind, SceneObject


@dataclass(frozen=True)
class _Sketch:
    """A tile, the frame to draw in (256 units are the image's side at scale 1), the object, and its random numbers."""

    tile: Tile
    frame: Frame
    thing: SceneObject
    rng: np.random.Generator

    def at(self, x: float, y: float, angle: float) -> "_Sketch":
        """The same tile seen from a point, turned."""
        return replace(self, frame=self.frame.child((x, y), angle=angle))

    def between(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))


def paint_object(thing: SceneObject, light: Light, size: int) -> Layer | None:
    """Paint one object; None if it lies outside the image."""
    unit = thing.scale * size / 256.0
    side = -1.0 if thing.flip else 1.0
    upright = Frame((side * unit, 0.0, 0.0, unit), (thing.x * size, thing.y * size))
    rng = np.random.default_rng(thing.seed)
    tile = Tile(size, thing.colour)
    _DRAWINGS[thing.kind](_Sketch(tile, upright.child((0.0, 0.0), angle=thing.angle), thing, rng))
    layer = tile.layer()
    if layer is None:
        return None
    radius, depth = _ROUNDNESS.get(thing.kind, (3.0, 0.6))
    layer.rounded(light.direction, radius * unit, depth)
    if thing.kind == "cloud":
        layer.alpha = np.clip(2.0 * blurred(layer.alpha, 4.0 * unit) - 1.0, 0.0, 0.9).astype(np.float32)
    else:
        layer.rimmed(0.3)
        h, w = layer.alpha.shape
        layer.scaled(1.0 + np.float32(0.06) * noise(rng, (h, w), (min(24, h), min(24, w))))
    return layer


_ROUNDNESS: dict[ObjectKind, tuple[float, float]] = {
    "stone": (9.0, 0.9), "mound": (12.0, 0.8), "perch": (4.0, 0.9), "branch": (3.0, 0.8), "berries": (4.0, 1.0),
    "cloud": (9.0, 0.25), "tuft": (1.5, 0.4), "mushroom": (5.0, 0.8), "leaf": (5.0, 0.4),
}  # fmt: skip
"""How far the edges of an object curve, in its units, and how strongly it is shaded."""


def _limb(sketch: _Sketch, line: Points, thickness: float, colour: Colour) -> None:
    """Draw a tapered piece of wood with bark along it."""
    tile, frame, rng = sketch.tile, sketch.frame, sketch.rng
    outline = tapered(line, thickness, thickness * 0.6)
    tile.fill(frame(outline), colour, edge=darker(colour, 0.5), edge_width=frame.scale)
    curve = smooth(line, closed=False, steps=10)
    starts = rng.integers(0, len(curve) - 5, size=14)
    bark = np.stack([curve[start : start + 5] for start in starts.tolist()])
    bark[:, :, 1] += rng.uniform(-0.36, 0.36, size=(14, 1)) * thickness
    tile.strokes(frame(bark[:8]), darker(colour, 0.45), frame.scale, 0.5)
    tile.strokes(frame(bark[8:]), lighter(colour, 0.35), frame.scale, 0.5)


def _blade(sketch: _Sketch, length: float, width: float, colour: Colour) -> None:
    """Draw a leaf along -x of the frame, one half darker, with its veins."""
    tile, frame, leaf = sketch.tile, sketch.frame, Feather(length, width, 2.2, 0.08)
    outline = frame(leaf.outline())
    tile.fill(outline, colour, edge=darker(colour, 0.4))
    tile.detail(np.concatenate([frame(leaf.shaft(0.0, 1.0)), outline[len(outline) // 2 :]]), darker(colour, 0.35), 0.35)
    tile.stroke(frame(leaf.shaft()), lighter(colour, 0.4), 1.1 * frame.scale, 0.7)
    tile.strokes(frame(leaf.barbs(0.12, 0.34)), lighter(colour, 0.3), 0.7 * frame.scale, 0.35)


def _grass(sketch: _Sketch, x: float, y: float, tall: float, colour: Colour) -> None:
    """Draw one blade of grass that grows upwards from (x, y)."""
    lean = sketch.between(-0.5, 0.5) * tall
    line = smooth([(x, y), (x + 0.25 * lean, y - 0.6 * tall), (x + lean, y - tall)], closed=False)
    tone = mix(darker(colour, 0.25), lighter(colour, 0.3), sketch.between(0, 1))
    width = np.interp(np.linspace(0, 1, len(line)), (0.0, 0.35, 1.0), (1.4, 4.6, 0.5))
    sketch.tile.fill(sketch.frame(ribbon(line, width)), tone)


def _branch(sketch: _Sketch) -> None:
    colour = sketch.thing.colour
    line = np.array([(x, sketch.between(-9, 9)) for x in (-95.0, -53.0, -12.0, 29.0, 70.0)])
    _limb(sketch, line, 11.0, colour)
    for x, y in line[2:].tolist():
        twig = sketch.at(x, y, 180.0 + sketch.between(-70, 70))
        _limb(twig, np.array([(0, 0), (-14.0, 2.0), (-26.0, 0.0)]), 5.0, colour)
        _blade(twig.at(-24.0, 0.0, sketch.between(-30, 30)), 26.0, 13.0, sketch.thing.accent)


def _perch(sketch: _Sketch) -> None:
    line = np.array([(60.0 * n, 15.0 + sketch.between(-3, 3)) for n in range(-4, 5)])
    _limb(sketch, line, 22.0, sketch.thing.colour)
    for x in (sketch.between(-110, -60), sketch.between(55, 110)):
        twig = sketch.at(x, 10.0, 90.0 + sketch.between(-50, 50))
        _limb(twig, np.array([(0, 0), (-10.0, 1.0), (-18.0, 0.0)]), 6.0, sketch.thing.colour)
        _blade(twig.at(-16.0, 0.0, sketch.between(-20, 20)), 30.0, 14.0, sketch.thing.accent)


def _mound(sketch: _Sketch) -> None:
    tile, frame, colour = sketch.tile, sketch.frame, sketch.thing.colour
    top = [(x, 9.0 + 0.0012 * x * x + sketch.between(-2.5, 2.5)) for x in range(-100, 101, 25)]
    tile.fill(frame(smooth([*top, (122, 50), (134, 100), (140, 240), (-140, 240), (-134, 100), (-122, 50)])), colour)
    for number, (x, y) in enumerate(sketch.rng.uniform((-112, 12), (112, 90), size=(80, 2)).tolist()):
        tone = darker(colour, 0.4) if number % 2 else lighter(colour, 0.4)
        tile.detail(frame(ellipse(x, y, 0.8 + 0.03 * number, 1.2)), tone, 0.4)
    for _ in range(12):
        x = sketch.between(-100, 100)
        _grass(sketch, x, 14.0 + 0.0012 * x * x, sketch.between(10, 24), sketch.thing.accent)


def _tuft(sketch: _Sketch) -> None:
    for x in sketch.rng.normal(0.0, 7.0, size=20).tolist():
        _grass(sketch, x, 12.0 - 0.02 * x * x, sketch.between(35, 85), sketch.thing.colour)


def _leaf(sketch: _Sketch) -> None:
    sketch.tile.fill(sketch.frame(tapered([(30, -3), (18, 0), (0, 0)], 2.0, 3.0)), sketch.thing.accent)
    _blade(sketch, sketch.between(52, 76), sketch.between(26, 38), sketch.thing.colour)


def _sprig(sketch: _Sketch) -> None:
    line = np.array([(70.0, 4.0), (35.0, sketch.between(-8, 8)), (0.0, 0.0), (-40.0, sketch.between(-14, 14))])
    _limb(sketch, line, 4.5, sketch.thing.accent)
    for number, (x, y) in enumerate(smooth(line, closed=False)[2::3].tolist()):
        side = 52.0 if number % 2 else -52.0
        tone = mix(sketch.thing.colour, lighter(sketch.thing.colour, 0.25), sketch.between(0, 1))
        _blade(sketch.at(x, y, side + sketch.between(-18, 18)), 28.0, 14.0, tone)


def _stone(sketch: _Sketch) -> None:
    tile, frame, colour = sketch.tile, sketch.frame, sketch.thing.colour
    reach = sketch.rng.uniform(0.85, 1.12, size=(8, 1))
    tile.fill(frame(smooth(ellipse(0.0, 0.0, 27.0, 18.0)[::3] * reach)), colour)
    for x, y in sketch.rng.uniform((-20, -13), (20, 13), size=(16, 2)).tolist():
        tile.detail(frame(ellipse(x, y, sketch.between(0.8, 2.4), 1.1)), darker(colour, 0.4), 0.4)
    tile.detail(frame(ellipse(-4, -8, 12, 4)), sketch.thing.accent, 0.25)


def _flower(sketch: _Sketch) -> None:
    tile, frame, thing = sketch.tile, sketch.frame, sketch.thing
    stem = (0.33, 0.48, 0.20)
    tile.fill(frame(tapered([(0, 0), (sketch.between(-6, 6), 28), (0, 60)], 3.0, 4.5)), stem, edge=darker(stem, 0.4))
    _blade(sketch.at(0, 36, 30.0), 24.0, 9.0, stem)
    petals = int(sketch.rng.integers(5, 9))
    for number in range(petals):
        tone = mix(thing.colour, lighter(thing.colour, 0.3), number % 2)
        _blade(sketch.at(0, 0, 360.0 * number / petals), 17.0, 11.0, tone)
    tile.fill(frame(ellipse(0, 0, 5.5, 5.0)), thing.accent, edge=darker(thing.accent, 0.4))
    for x, y in sketch.rng.uniform(-3, 3, size=(7, 2)).tolist():
        tile.detail(frame(ellipse(x, y, 0.9, 0.9)), lighter(thing.accent, 0.5), 0.7)


def _berries(sketch: _Sketch) -> None:
    tile, frame, colour = sketch.tile, sketch.frame, sketch.thing.colour
    for x, y in sketch.rng.uniform((-22, 4), (22, 30), size=(7, 2)).tolist():
        tile.fill(frame(tapered([(0, -18), (0.4 * x, -4), (x, y)], 2.2, 1.4)), (0.36, 0.28, 0.2))
        tile.fill(frame(ellipse(x, y, 6.2, 6.2)), colour, edge=darker(colour, 0.5))
        tile.detail(frame(ellipse(x - 1.8, y - 2.0, 1.9, 1.5)), (1.0, 1.0, 1.0), 0.75)
        tile.detail(frame(ellipse(x, y + 4.8, 1.4, 0.9)), darker(colour, 0.7), 0.7)
    for angle in (-150.0, -35.0):
        _blade(sketch.at(0, -16, angle), 30.0, 14.0, sketch.thing.accent)


def _cloud(sketch: _Sketch) -> None:
    tile, frame, colour = sketch.tile, sketch.frame, sketch.thing.colour
    for number in range(-3, 4):
        reach = (1.0 - (number / 4.3) ** 2) * sketch.between(15, 24)
        tile.fill(frame(ellipse(15.0 * number, -0.4 * reach, reach * 1.1, reach * 0.8)), colour)
    tile.fill(frame(ellipse(0, 2, 54, 8)), darker(colour, 0.06))


def _mushroom(sketch: _Sketch) -> None:
    tile, frame, thing = sketch.tile, sketch.frame, sketch.thing
    stalk = lighter(thing.accent, 0.7)
    tile.fill(frame(tapered([(0, -6), (1, 14), (0, 34)], 10.0, 14.0)), stalk, edge=darker(stalk, 0.4))
    cap = smooth([(-27, 2), (-20, -14), (0, -23), (20, -14), (27, 2), (12, 5), (-12, 5)])
    tile.fill(frame(cap), thing.colour, edge=darker(thing.colour, 0.5))
    for x, y in sketch.rng.uniform((-17, -16), (17, -2), size=(6, 2)).tolist():
        tile.detail(frame(ellipse(x, y, 3.0, 2.2)), lighter(thing.accent, 0.6), 0.9)


def _plume(sketch: _Sketch) -> None:
    """A moulted feather in plumage colours."""
    tile, frame, thing = sketch.tile, sketch.frame, sketch.thing
    shape = Feather(66.0, 17.0, 5.0, sketch.between(-0.2, 0.2))
    tile.fill(frame(shape.outline()), thing.colour, edge=darker(thing.colour, 0.5))
    tile.detail(frame(shape.outline(0.72)), thing.accent, 0.9)
    tile.strokes(frame(shape.barbs(0.1, 0.36)), darker(thing.colour, 0.5), 0.8 * frame.scale, 0.3)
    tile.stroke(frame(shape.shaft()), lighter(thing.colour, 0.6), 1.3 * frame.scale)


_DRAWINGS: dict[ObjectKind, Callable[[_Sketch], None]] = {
    "branch": _branch, "sprig": _sprig, "stone": _stone, "flower": _flower, "berries": _berries, "cloud": _cloud,
    "tuft": _tuft, "mushroom": _mushroom, "plume": _plume, "perch": _perch, "mound": _mound, "leaf": _leaf,
}  # fmt: skip
