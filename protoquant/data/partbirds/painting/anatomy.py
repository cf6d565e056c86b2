"""The bird's body: its frames (where head, tail, wings and hips are) and its silhouette with plumage."""

from dataclasses import dataclass

import numpy as np

from protoquant.data.partbirds.painting.curves import Frame, Plane, Points, smooth
from protoquant.data.partbirds.painting.paint import Layer, Tile, noise
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter
from protoquant.data.partbirds.scene import Pose, Scene

HEAD = (46.0, -42.0)
TAIL = (-52.0, 10.0)
SHOULDER = (20.0, -12.0)


@dataclass(frozen=True)
class Skeleton:
    """The frames in which the parts are drawn: x towards the beak, y downwards, with the same unit everywhere."""

    upright: Frame
    body: Frame
    head: Frame
    tail: Frame

    @classmethod
    def of(cls, pose: Pose, size: int) -> "Skeleton":
        """Place the frames of a posed bird in an image of `size` pixels a side."""
        unit = pose.scale * size / 256.0
        side = -1.0 if pose.flip else 1.0
        upright = Frame((side * unit, 0.0, 0.0, unit), (pose.x * size, pose.y * size))
        body = upright.child((0.0, 0.0), angle=pose.tilt)
        return cls(
            upright,
            body,
            head=body.child(HEAD, angle=pose.head_angle - 0.5 * pose.tilt),
            tail=body.child(TAIL, angle=pose.tail_angle),
        )


def body_outline(skeleton: Skeleton) -> Points:
    """The silhouette of head, neck and body as one smooth closed curve, in pixels."""
    head = [(-17, 17), (-25, 1), (-20, -18), (-4, -28), (13, -24), (24, -11), (27, 4), (21, 17)]
    trunk_below = [(60, -6), (57, 12), (40, 30), (10, 40), (-22, 36), (-48, 24), (-66, 17)]
    trunk_above = [(-68, 6), (-48, -4), (-24, -19), (2, -31)]
    points = np.concatenate([skeleton.head(head), skeleton.body(trunk_below), skeleton.body(trunk_above)])
    return smooth(points)


def paint_body(scene: Scene, skeleton: Skeleton) -> Layer | None:
    """Paint body, neck and head with a darker back, a pale belly and small feather strokes."""
    back, belly = scene.plumage.back, scene.plumage.belly
    rng = np.random.default_rng(scene.plumage.seed)
    tile = Tile(scene.size, back)
    tile.fill(body_outline(skeleton), back)
    layer = tile.layer()
    if layer is None:
        return None
    _countershade(layer, skeleton, back, belly, rng)
    _feather_strokes(layer, skeleton, rng)
    layer.rounded(scene.light.direction, 11 * skeleton.body.scale, 0.75)
    layer.rimmed(0.35, 1.5)
    return layer


def _countershade(layer: Layer, skeleton: Skeleton, back: Colour, belly: Colour, rng: np.random.Generator) -> None:
    """Grade from the back's colour to the belly's, with a mottled border and a slightly darker cap."""
    u, v = skeleton.body.local(*layer.pixels())
    border = v + 0.30 * u - 2.0 + 7.0 * noise(rng, layer.alpha.shape, (9, 9))
    share = _step(border, -22.0, 16.0)[:, :, None]
    low, high = np.array(back, dtype=np.float32), np.array(belly, dtype=np.float32)
    layer.colour = low + (high - low) * share
    x, y = skeleton.head.local(*layer.pixels())
    cap = 1.0 - 0.22 * _step(-(y + 0.3 * x) - 2.0 + 3.0 * noise(rng, layer.alpha.shape, (12, 12)), 0.0, 9.0)
    on_head = 1.0 - _step(np.hypot(x, y), 24.0, 34.0)
    layer.scaled((1.0 + (cap - 1.0) * on_head).astype(np.float32))
    layer.scaled((1.0 + 0.045 * noise(rng, layer.alpha.shape, (40, 40))).astype(np.float32))


def _feather_strokes(layer: Layer, skeleton: Skeleton, rng: np.random.Generator) -> None:
    """Lay rows of small feather tips over the body: a dark arc with a light one inside."""
    h, w = layer.alpha.shape
    columns, rows = np.meshgrid(np.arange(-64, 72, 9.0), np.arange(-66, 44, 6.5))
    columns += 4.5 * (np.arange(len(rows)) % 2)[:, None]
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1) + rng.uniform(-1.8, 1.8, size=(columns.size, 2))
    arcs = centres[:, None, :] + np.array([(2.2, -3.0), (-1.2, -2.1), (-2.6, 0.0), (-1.2, 2.1), (2.2, 3.0)])
    grey = (0.5, 0.5, 0.5)
    tile = Tile(max(h, w), grey)
    width = 0.9 * skeleton.body.scale
    dark = skeleton.body(arcs) - (layer.left, layer.top)
    light = skeleton.body(arcs + np.array([1.4, 0.0])) - (layer.left, layer.top)
    for depth in range(3):
        opacity = 0.14 + 0.12 * depth
        tile.strokes(dark[depth::3], darker(grey, 0.7), width, opacity)
        tile.strokes(light[depth::3], lighter(grey, 0.7), width, 0.6 * opacity)
    layer.scaled(0.55 + 0.9 * tile.drawn()[:h, :w, 0])


def _step(value: Plane, low: float, high: float) -> Plane:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0).astype(np.float32)
    smooth_t: Plane = t * t * (3.0 - 2.0 * t)
    return smooth_t
