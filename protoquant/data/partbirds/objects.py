"""Things that are not the bird: what it stands on, what lies about, and what is in front of it."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from protoquant.data.partbirds.curves import Frame, Points, ellipse, feather, shaft, smooth, tapered
from protoquant.data.partbirds.paint import Layer, Tile, noise
from protoquant.data.partbirds.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Light, ObjectKind, SceneObject

Drawing: TypeAlias = Callable[[Tile, Frame, SceneObject, np.random.Generator], None]


def paint_object(thing: SceneObject, light: Light, size: int) -> Layer | None:
    """Paint one object; None when it lies outside the image."""
    unit = thing.scale * size / 256.0
    side = -1.0 if thing.flip else 1.0
    upright = Frame(((side * unit, 0.0), (0.0, unit)), (thing.x * size, thing.y * size))
    frame = upright.child((0.0, 0.0), angle=thing.angle)
    rng = np.random.default_rng(thing.seed)
    tile = Tile(size, thing.colour)
    _DRAWINGS[thing.kind](tile, frame, thing, rng)
    layer = tile.layer()
    if layer is None:
        return None
    radius, depth = _ROUNDNESS.get(thing.kind, (3.0, 0.6))
    layer.rounded(light.direction, radius * unit, depth)
    if thing.kind == "cloud":
        layer.alpha *= np.float32(0.85)
    else:
        layer.rimmed(0.3)
        grain = noise(rng, layer.alpha.shape, (min(24, layer.alpha.shape[0]), min(24, layer.alpha.shape[1])))
        layer.scaled(1.0 + np.float32(0.06) * grain)
    return layer


_ROUNDNESS: dict[ObjectKind, tuple[float, float]] = {
    "stone": (9.0, 0.9), "mound": (12.0, 0.8), "perch": (4.0, 0.9), "branch": (3.0, 0.8), "berries": (4.0, 1.0),
    "cloud": (9.0, 0.25), "tuft": (1.5, 0.4), "mushroom": (5.0, 0.8), "leaf": (5.0, 0.4),
}  # fmt: skip


def _wood(tile: Tile, frame: Frame, line: Points, width: float, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a tapered limb with bark along it."""
    tile.fill(frame(tapered(line, width, width * 0.6)), colour, edge=darker(colour, 0.5), edge_width=frame.scale)
    curve = smooth(line, closed=False, steps=10)
    for _ in range(14):
        start, reach = int(rng.integers(0, len(curve) - 3)), int(rng.integers(3, 7))
        bark = curve[start : start + reach] + (0.0, float(rng.uniform(-0.36, 0.36)) * width)
        tone = darker(colour, 0.45) if rng.random() < 0.6 else lighter(colour, 0.35)
        tile.stroke(frame(bark), tone, 1.0 * frame.scale, 0.5)


def _blade(tile: Tile, frame: Frame, length: float, width: float, colour: Colour) -> None:
    """Draw a leaf along -x of its frame, with its veins."""
    tile.fill(frame(feather(length, width, point=2.2, bend=0.08)), colour, edge=darker(colour, 0.4))
    tile.detail(frame(feather(length, width, point=2.2, bend=0.08)[15:]), darker(colour, 0.3), 0.25)
    tile.stroke(frame(shaft(length, 0.08, np.linspace(0.0, 0.96, 8))), lighter(colour, 0.4), 1.1 * frame.scale, 0.7)
    for at in np.linspace(0.2, 0.8, 5).tolist():
        root = shaft(length, 0.08, [at])[0]
        for side in (-0.38, 0.38):
            tip = root + (-0.12 * length, side * width * (1.1 - at))
            tile.stroke(frame(np.array([root, tip])), lighter(colour, 0.3), 0.7 * frame.scale, 0.4)


def _branch(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    line = np.array([(x, float(rng.uniform(-9, 9))) for x in np.linspace(-95, 70, 5).tolist()])
    _wood(tile, frame, line, 11.0, thing.colour, rng)
    for x, y in line[2:].tolist():
        child = frame.child((x, y), angle=180.0 + float(rng.uniform(-70, 70)))
        _wood(tile, child, np.array([(0, 0), (-14.0, 2.0), (-26.0, 0.0)]), 5.0, thing.colour, rng)
        _blade(tile, child.child((-24.0, 0.0), angle=float(rng.uniform(-30, 30))), 26.0, 13.0, thing.accent)


def _perch(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    line = np.array([(x, 15.0 + float(rng.uniform(-3, 3))) for x in np.linspace(-240, 240, 9).tolist()])
    _wood(tile, frame, line, 22.0, thing.colour, rng)
    for x in (float(rng.uniform(-110, -60)), float(rng.uniform(55, 110))):
        child = frame.child((x, 10.0), angle=90.0 + float(rng.uniform(-50, 50)))
        _wood(tile, child, np.array([(0, 0), (-10.0, 1.0), (-18.0, 0.0)]), 6.0, thing.colour, rng)
        _blade(tile, child.child((-16.0, 0.0), angle=float(rng.uniform(-20, 20))), 30.0, 14.0, thing.accent)


def _mound(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    top = [(x, 9.0 + 0.0012 * x * x + float(rng.uniform(-2.5, 2.5))) for x in np.linspace(-100, 100, 9).tolist()]
    tile.fill(frame(smooth([*top, (112, 40), (70, 62), (0, 70), (-70, 62), (-112, 40)])), thing.colour)
    for x, y in rng.uniform((-95, 12), (95, 60), size=(60, 2)).tolist():
        tone = darker(thing.colour, 0.4) if rng.random() < 0.5 else lighter(thing.colour, 0.4)
        tile.detail(frame(ellipse(x, y, float(rng.uniform(0.8, 3.0)), 1.2, steps=10)), tone, 0.4)
    for _ in range(12):
        x = float(rng.uniform(-100, 100))
        _grass(tile, frame, (x, 14.0 + 0.0012 * x * x), float(rng.uniform(10, 24)), thing.accent, rng)


def _grass(
    tile: Tile, frame: Frame, foot: tuple[float, float], tall: float, colour: Colour, rng: np.random.Generator
) -> None:
    lean = float(rng.uniform(-0.5, 0.5)) * tall
    blade = [foot, (foot[0] + 0.25 * lean, foot[1] - 0.6 * tall), (foot[0] + lean, foot[1] - tall)]
    tone = mix(darker(colour, 0.25), lighter(colour, 0.3), float(rng.uniform(0, 1)))
    tile.fill(frame(tapered(blade, 4.2, 0.5)), tone)


def _tuft(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    for _ in range(20):
        foot = (float(rng.uniform(-18, 18)), 10.0)
        _grass(tile, frame, foot, float(rng.uniform(35, 85)), thing.colour, rng)


def _leaf(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    tile.fill(frame(tapered([(30, -3), (18, 0), (0, 0)], 2.0, 3.0)), thing.accent)
    _blade(tile, frame, float(rng.uniform(52, 76)), float(rng.uniform(26, 38)), thing.colour)


def _sprig(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    line = np.array([(70.0, 4.0), (35.0, float(rng.uniform(-8, 8))), (0.0, 0.0), (-40.0, float(rng.uniform(-14, 14)))])
    _wood(tile, frame, line, 4.5, thing.accent, rng)
    curve = smooth(line, closed=False)
    for number, (x, y) in enumerate(curve[2::3].tolist()):
        side = 52.0 if number % 2 else -52.0
        tone = mix(thing.colour, lighter(thing.colour, 0.25), float(rng.uniform(0, 1)))
        _blade(tile, frame.child((x, y), angle=side + float(rng.uniform(-18, 18))), 28.0, 14.0, tone)


def _stone(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    reach = rng.uniform(0.85, 1.12, size=9)
    tile.fill(frame(smooth(np.stack([27 * reach * np.cos(turn), 18 * reach * np.sin(turn)], axis=1))), thing.colour)
    for x, y in rng.uniform((-20, -13), (20, 13), size=(16, 2)).tolist():
        tile.detail(frame(ellipse(x, y, float(rng.uniform(0.8, 2.4)), 1.1, steps=10)), darker(thing.colour, 0.4), 0.4)
    tile.detail(frame(ellipse(-4, -8, 12, 4)), thing.accent, 0.25)


def _flower(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    stem = (0.33, 0.48, 0.20)
    tile.fill(
        frame(tapered([(0, 0), (float(rng.uniform(-6, 6)), 28), (0, 60)], 3.0, 4.5)), stem, edge=darker(stem, 0.4)
    )
    _blade(tile, frame.child((0, 36), angle=30.0), 24.0, 9.0, stem)
    petals = int(rng.integers(5, 9))
    for number in range(petals):
        tone = mix(thing.colour, lighter(thing.colour, 0.3), number % 2)
        _blade(tile, frame.child((0, 0), angle=360.0 * number / petals), 17.0, 11.0, tone)
    tile.fill(frame(ellipse(0, 0, 5.5, 5.0)), thing.accent, edge=darker(thing.accent, 0.4))
    for x, y in rng.uniform(-3, 3, size=(7, 2)).tolist():
        tile.detail(frame(ellipse(x, y, 0.9, 0.9, steps=8)), lighter(thing.accent, 0.5), 0.7)


def _berries(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    for x, y in rng.uniform((-22, 4), (22, 30), size=(7, 2)).tolist():
        tile.fill(frame(tapered([(0, -18), (0.4 * x, -4), (x, y)], 2.2, 1.4)), (0.36, 0.28, 0.2))
        tile.fill(frame(ellipse(x, y, 6.2, 6.2)), thing.colour, edge=darker(thing.colour, 0.5))
        tile.detail(frame(ellipse(x - 1.8, y - 2.0, 1.9, 1.5)), (1.0, 1.0, 1.0), 0.75)
        tile.detail(frame(ellipse(x, y + 4.8, 1.4, 0.9)), darker(thing.colour, 0.7), 0.7)
    for angle in (-150.0, -35.0):
        _blade(tile, frame.child((0, -16), angle=angle), 30.0, 14.0, thing.accent)


def _cloud(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    for x in np.linspace(-46, 46, 7).tolist():
        reach = (1.0 - (x / 66.0) ** 2) * float(rng.uniform(15, 24))
        tile.fill(frame(ellipse(x, -0.4 * reach, reach * 1.1, reach * 0.8)), thing.colour)
    tile.fill(frame(ellipse(0, 3, 58, 9)), darker(thing.colour, 0.04))


def _mushroom(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    stalk = lighter(thing.accent, 0.7)
    tile.fill(frame(tapered([(0, -6), (1, 14), (0, 34)], 10.0, 14.0)), stalk, edge=darker(stalk, 0.4))
    cap = smooth([(-27, 2), (-20, -14), (0, -23), (20, -14), (27, 2), (12, 5), (-12, 5)])
    tile.fill(frame(cap), thing.colour, edge=darker(thing.colour, 0.5))
    for x, y in rng.uniform((-17, -16), (17, -2), size=(6, 2)).tolist():
        tile.detail(frame(ellipse(x, y, 3.0, 2.2)), lighter(thing.accent, 0.6), 0.9)


def _plume(tile: Tile, frame: Frame, thing: SceneObject, rng: np.random.Generator) -> None:
    """A moulted feather in plumage colours."""
    bend = float(rng.uniform(-0.2, 0.2))
    tile.fill(frame(feather(66.0, 17.0, point=5.0, bend=bend)), thing.colour, edge=darker(thing.colour, 0.5))
    tile.detail(frame(feather(66.0, 17.0, point=5.0, bend=bend, start=0.72)), thing.accent, 0.9)
    tile.stroke(frame(shaft(66.0, bend, np.linspace(0.0, 0.95, 10))), lighter(thing.colour, 0.6), 1.3 * frame.scale)


_DRAWINGS: dict[ObjectKind, Drawing] = {
    "branch": _branch, "sprig": _sprig, "stone": _stone, "flower": _flower, "berries": _berries, "cloud": _cloud,
    "tuft": _tuft, "mushroom": _mushroom, "plume": _plume, "perch": _perch, "mound": _mound, "leaf": _leaf,
}  # fmt: skip
