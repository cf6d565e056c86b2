"""Legs and feet. They stand upright whatever the tilt of the body, from the hips to the ground."""

import numpy as np

from protoquant.data.partbirds.anatomy import Skeleton
from protoquant.data.partbirds.curves import Frame, ellipse, smooth, tapered
from protoquant.data.partbirds.paint import Layer, Tile
from protoquant.data.partbirds.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import HIPS, Scene, ground_level


def paint_leg(scene: Scene, skeleton: Skeleton, *, near: bool) -> Layer | None:
    """Paint one leg with its foot; the far one is darker."""
    variant = scene.bird.foot
    main, accent = scene.plumage.tint("foot", variant.colour), scene.plumage.tint("foot", variant.accent)
    if not near:
        main, accent = darker(main, 0.28), darker(accent, 0.28)
    hip = skeleton.body([HIPS[1 if near else 0]])[0]
    upright = skeleton.upright
    x, y = upright.local(np.float32(hip[0:1]), np.float32(hip[1:2]))
    hip_x, hip_y = float(x[0]), float(y[0])
    ground = ground_level(scene.bird, scene.pose) - (0.0 if near else 4.0)
    foot_x = hip_x + scene.pose.stride[1 if near else 0]
    tile = Tile(scene.size, main)
    _leg(tile, upright, variant.shape, (hip_x, hip_y), (foot_x, ground), main, scene.plumage.back)
    _toes(tile, upright.child((foot_x, ground)), variant.shape, main, accent)
    layer = tile.layer()
    if layer is not None:
        layer.rounded(scene.light.direction, 3 * upright.scale, 0.5)
        layer.rimmed(0.25)
    return layer


def _leg(
    tile: Tile,
    frame: Frame,
    shape: str,
    hip: tuple[float, float],
    foot: tuple[float, float],
    main: Colour,
    plumage: Colour,
) -> None:
    """Draw the shank with its backward ankle and scales."""
    width = {"perching": 6.5, "wading": 5.6, "webbed": 7.5, "taloned": 9.0}[shape]
    ankle = (0.5 * (hip[0] + foot[0]) - 5.0, hip[1] + 0.52 * (foot[1] - hip[1]))
    line = [hip, ankle, foot]
    tile.fill(frame(tapered(line, width * 1.15, width * 0.85)), main, edge=darker(main, 0.5), edge_width=frame.scale)
    tile.fill(frame(ellipse(ankle[0], ankle[1], width * 0.66, width * 0.6)), main)
    for share in np.linspace(0.15, 0.85, 5).tolist():
        x, y = ankle[0] + share * (foot[0] - ankle[0]), ankle[1] + share * (foot[1] - ankle[1])
        tile.stroke(
            frame([(x - 0.4 * width, y), (x + 0.4 * width, y + 1.2)]), darker(main, 0.6), 0.8 * frame.scale, 0.5
        )
    if shape == "taloned":
        trousers = smooth([(hip[0] - 11, hip[1] - 6), (hip[0] + 11, hip[1] - 6), (ankle[0] + 8, ankle[1] + 4),
                           (ankle[0] + 2, ankle[1] + 9), (ankle[0] - 6, ankle[1] + 6)])  # fmt: skip
        tile.fill(frame(trousers), mix(main, plumage, 0.55), edge=darker(plumage, 0.3))


def _toes(tile: Tile, frame: Frame, shape: str, main: Colour, accent: Colour) -> None:
    """Draw three toes forward and one backward, with claws or a web; the origin is where the leg ends."""
    long = {"perching": 17.0, "wading": 21.0, "webbed": 23.0, "taloned": 17.0}[shape]
    width = {"perching": 5.2, "wading": 4.2, "webbed": 5.0, "taloned": 7.5}[shape]
    forward = [(long, 5.0), (0.86 * long, 9.0), (0.5 * long, 12.0)]
    if shape == "webbed":
        web = smooth([(-3, -1), (6, -2), (long, 4), (0.8 * long, 8), (0.78 * long, 12), (0.3 * long, 13), (-4, 6)])
        tile.fill(frame(web), mix(main, accent, 0.55), edge=darker(accent, 0.4), edge_width=frame.scale)
    for x, y in [(-0.6 * long, 6.0), *forward]:
        toe = tapered([(0, 0), (0.5 * x, 0.35 * y - 1.0), (x, y)], width, width * 0.7)
        tile.fill(frame(toe), main, edge=darker(main, 0.5), edge_width=frame.scale)
        if shape != "webbed":
            reach = 1.45 if shape == "taloned" else 1.22
            claw = tapered([(0.94 * x, y - 0.5), (1.12 * x, y - 1.0), (reach * x, y + 3.0)], width * 0.75, 0.6)
            tile.fill(frame(claw), accent)
    tile.detail(frame(ellipse(0, 0.5, width * 0.55, width * 0.4)), lighter(main, 0.35), 0.5)
