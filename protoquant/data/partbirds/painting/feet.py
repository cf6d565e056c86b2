"""Legs and feet, which stand upright from the hips to the ground, whatever the tilt of the body."""

import numpy as np

from protoquant.data.partbirds.painting.anatomy import Skeleton
from protoquant.data.partbirds.painting.curves import Frame, ellipse, smooth, tapered
from protoquant.data.partbirds.painting.paint import Layer, Tile
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import HIPS, Scene, ground_level

_FEET: dict[str, tuple[float, float, float]] = {
    # width of the shank, length and width of the toes
    "perching": (7.0, 19.0, 6.0),
    "wading": (6.0, 23.0, 5.0),
    "webbed": (8.0, 26.0, 5.6),
    "taloned": (9.0, 20.0, 8.0),
}


def paint_leg(scene: Scene, skeleton: Skeleton, *, near: bool) -> Layer | None:
    """Paint one leg with its foot; the far one is darker and a little higher in the picture."""
    variant, upright = scene.bird.foot, skeleton.upright
    main, accent = scene.plumage.tint("foot", variant.colour), scene.plumage.tint("foot", variant.accent)
    plumage = mix(scene.plumage.back, scene.plumage.belly, 0.35)
    if not near:
        main, accent, plumage = darker(main, 0.28), darker(accent, 0.28), darker(plumage, 0.28)
    hip_x, hip_y = skeleton.body([HIPS[1 if near else 0]])[0].tolist()
    hip = Frame(upright.linear, (hip_x, hip_y))
    ground = ground_level(scene.bird, scene.pose) - (0.0 if near else 4.0)
    foot = (scene.pose.stride[1 if near else 0], ground - (hip_y - upright.origin[1]) / upright.scale)
    tile = Tile(scene.size, main)
    _shank(tile, hip, _FEET[variant.shape][0], foot, main)
    if variant.shape == "taloned":
        _trousers(tile, hip, foot, plumage)
    _toes(tile, hip.child(foot), variant.shape, main, accent)
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, 3 * upright.scale, 0.5)
        layer.rimmed(0.25)
    return layer


def _shank(tile: Tile, hip: Frame, width: float, foot: tuple[float, float], main: Colour) -> None:
    """Draw the leg from the hip over the backward ankle to the foot, with scales below the ankle."""
    ankle = (0.5 * foot[0] - 5.0, 0.52 * foot[1])
    line = tapered([(0.0, 0.0), ankle, foot], width * 1.15, width * 0.85)
    tile.fill(hip(line), main, edge=darker(main, 0.5), edge_width=hip.scale)
    tile.fill(hip(ellipse(*ankle, width * 0.66, width * 0.6)), main)
    share = np.linspace(0.15, 0.85, 5)[:, None]
    middle = np.array(ankle) * (1.0 - share) + np.array(foot) * share
    scales = middle[:, None, :] + np.array([(-0.4 * width, 0.0), (0.4 * width, 1.2)])
    tile.strokes(hip(scales), darker(main, 0.6), 0.8 * hip.scale, 0.5)


def _trousers(tile: Tile, hip: Frame, foot: tuple[float, float], plumage: Colour) -> None:
    """Draw the feathered thigh of a bird of prey."""
    x, y = 0.5 * foot[0] - 4.0, 0.56 * foot[1]
    outline = [(-13, -9), (12, -9), (12, 2), (x + 9, y - 5), (x + 6, y + 5), (x + 1, y), (x - 3, y + 6), (x - 7, y - 4)]
    tile.fill(hip(smooth(outline)), plumage, edge=darker(plumage, 0.4), edge_width=hip.scale)
    for side in (-5.0, 0.0, 5.0):
        strand = np.array([(side, -2.0), (0.5 * x + side, 0.5 * y), (x + 0.7 * side, y)])
        tile.stroke(hip(strand), darker(plumage, 0.5), 0.9 * hip.scale, 0.4)


def _toes(tile: Tile, frame: Frame, shape: str, main: Colour, accent: Colour) -> None:
    """Draw three toes forward and one backward, with claws or a web; the origin is where the leg ends."""
    _, long, width = _FEET[shape]
    if shape == "webbed":
        web = smooth([(-3, -1), (6, -2), (long, 4), (0.8 * long, 8), (0.78 * long, 12), (0.3 * long, 13), (-4, 6)])
        tile.fill(frame(web), mix(main, accent, 0.55), edge=darker(accent, 0.4), edge_width=frame.scale)
    for x, y in ((-0.6 * long, 6.0), (long, 5.0), (0.86 * long, 9.0), (0.5 * long, 12.0)):
        toe = tapered([(0.0, 0.0), (0.5 * x, 0.35 * y - 1.0), (x, y)], width, width * 0.7)
        tile.fill(frame(toe), main, edge=darker(main, 0.5), edge_width=frame.scale)
        if shape != "webbed":
            reach = 1.45 if shape == "taloned" else 1.22
            claw = tapered([(0.94 * x, y - 0.5), (1.12 * x, y - 1.0), (reach * x, y + 3.0)], width * 0.75, 0.6)
            tile.fill(frame(claw), accent)
    tile.detail(frame(ellipse(0, 0.5, width * 0.55, width * 0.4)), lighter(main, 0.35), 0.5)
