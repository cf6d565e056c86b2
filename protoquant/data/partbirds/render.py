"""Renders a scene to pixels, with any of its parts or objects left out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protoquant.core.errors import UsageError, suggest
from protoquant.data.partbirds.painting.anatomy import Skeleton, paint_body
from protoquant.data.partbirds.painting.curves import Plane
from protoquant.data.partbirds.painting.face import paint_beak, paint_eye
from protoquant.data.partbirds.painting.feet import paint_leg
from protoquant.data.partbirds.painting.objects import paint_object
from protoquant.data.partbirds.painting.paint import Canvas, Layer
from protoquant.data.partbirds.painting.plumes import paint_tail, paint_wing
from protoquant.data.partbirds.painting.scenery import paint_backdrop
from protoquant.data.partbirds.scene import Light, Scene
from protoquant.data.partbirds.spec import PARTS

BODY = "body"
"""The name of head, neck and trunk in the masks; the body is the same for all classes and always present."""


@dataclass(frozen=True)
class Rendered:
    """An image and what is visible where.

    Args:
        image: Pixels (h, w, 3), uint8, sRGB.
        part_masks: For each of the five parts and the body, where it is visible (h, w); all False if left out.
        object_masks: The same for each of the scene's objects, in their order.
        part_reach: For each part and the body, every pixel that it changes at all, including its shadow and soft edge:
            leaving it out changes no other pixel.
        object_reach: The same for each object.
    """

    image: NDArray[np.uint8]
    part_masks: dict[str, NDArray[np.bool_]]
    object_masks: list[NDArray[np.bool_]]
    part_reach: dict[str, NDArray[np.bool_]]
    object_reach: list[NDArray[np.bool_]]


def render(
    scene: Scene, without_parts: frozenset[str] = frozenset(), without_objects: frozenset[int] = frozenset()
) -> Rendered:
    """Paint a scene.

    Args:
        scene: What to paint; the same scene gives the same bytes.
        without_parts: Parts to leave out, from `spec.PARTS`.
        without_objects: Objects to leave out, by their place in `scene.objects`.

    Returns:
        The image and its masks. Pixels beyond the reach of what was left out are as in the full image.

    Raises:
        UsageError: A part or object is not in the scene.
    """
    _check(scene, without_parts, without_objects)
    canvas = Canvas(paint_backdrop(scene.backdrop, scene.size))
    kept = [(n, thing) for n, thing in enumerate(scene.objects) if n not in without_objects]
    for n, thing in kept:
        if not thing.front and (layer := paint_object(thing, scene.light, scene.size)) is not None:
            canvas.lay(layer, _FIRST_OBJECT + n)
    _lay_bird(canvas, scene, without_parts)
    for n, thing in kept:
        if thing.front and (layer := paint_object(thing, scene.light, scene.size)) is not None:
            canvas.shade(_shadow(layer, scene, 6.0), _FIRST_OBJECT + n, canvas.owner < _FIRST_OBJECT)
            canvas.lay(layer, _FIRST_OBJECT + n)
    image = np.rint(_lit(canvas.colour, scene.light) * np.float32(255.0)).astype(np.uint8)
    parts, things = range(_FIRST_OBJECT), range(_FIRST_OBJECT, _FIRST_OBJECT + len(scene.objects))
    return Rendered(
        image,
        part_masks={_BIRD[n]: canvas.owner == n for n in parts},
        object_masks=[canvas.owner == n for n in things],
        part_reach={_BIRD[n]: canvas.reach(n) for n in parts},
        object_reach=[canvas.reach(n) for n in things],
    )


_BIRD = (*PARTS, BODY)
_FIRST_OBJECT = len(_BIRD)
"""Owners of pixels: the bird's parts by their place in _BIRD, then the objects."""


def _check(scene: Scene, without_parts: frozenset[str], without_objects: frozenset[int]) -> None:
    for name in sorted(without_parts - set(PARTS)):
        raise UsageError(f"without_parts must name parts of {', '.join(PARTS)}, got {name!r}{suggest(name, PARTS)}")
    for number in sorted(without_objects - set(range(len(scene.objects)))):
        raise UsageError(f"without_objects must be in [0, {len(scene.objects)}) for this scene, got {number}")


def _lay_bird(canvas: Canvas, scene: Scene, without_parts: frozenset[str]) -> None:
    """Lay the bird from back to front; it throws one shadow on the objects, and its parts shade one another."""
    layers = [(_BIRD.index(name), layer) for name, layer in _bird(scene) if name not in without_parts]
    near = [_FIRST_OBJECT + n for n, thing in enumerate(scene.objects) if thing.kind != "cloud"]
    canvas.shade_together([(_shadow(layer, scene, 9.0), owner) for owner, layer in layers], np.isin(canvas.owner, near))
    for owner, layer in layers:
        on_bird = (canvas.owner >= 0) & (canvas.owner < _FIRST_OBJECT)
        if on_bird.any():
            canvas.shade(_shadow(layer, scene, 3.0), owner, on_bird)
        canvas.lay(layer, owner)


def _bird(scene: Scene) -> Iterator[tuple[str, Layer]]:
    """Paint the bird's layers from back to front."""
    skeleton = Skeleton.of(scene.pose, scene.size)
    painters: list[tuple[str, Callable[[], Layer | None]]] = [
        ("wing", lambda: paint_wing(scene, skeleton, near=False)),
        ("foot", lambda: paint_leg(scene, skeleton, near=False)),
        ("tail", lambda: paint_tail(scene, skeleton)),
        (BODY, lambda: paint_body(scene, skeleton)),
        ("beak", lambda: paint_beak(scene, skeleton)),
        ("eye", lambda: paint_eye(scene, skeleton)),
        ("foot", lambda: paint_leg(scene, skeleton, near=True)),
        ("wing", lambda: paint_wing(scene, skeleton, near=True)),
    ]
    for number, (name, paint) in enumerate(painters):
        if number == 0 and scene.pose.wing_angle < _RAISED:
            continue
        layer = paint()
        if layer is not None:
            yield name, layer


_RAISED = 20.0
"""Wing angle in degrees from which the far wing shows."""


def _shadow(layer: Layer, scene: Scene, distance: float) -> Layer:
    """The soft shadow of a layer on something `distance` bird units behind it; its alpha is the darkening."""
    reach = distance * scene.size / 256.0
    x, y = scene.light.direction
    return layer.shadow((round(-x * reach), round(-y * reach)), 0.7 * reach, scene.light.shadow)


def _lit(colour: Plane, light: Light) -> Plane:
    """Apply contrast, exposure, warmth and uneven light to each pixel by itself."""
    h, w, _ = colour.shape
    x = np.linspace(-1.0, 1.0, w, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, h, dtype=np.float32)[:, None]
    gain = np.float32(light.exposure) * (1.0 + np.float32(light.gradient[0]) * x + np.float32(light.gradient[1]) * y)
    tone = np.array([1.0 + light.warmth, 1.0 + 0.15 * light.warmth, 1.0 - light.warmth], dtype=np.float32)
    lit: Plane = colour * np.float32(light.contrast) + np.float32(0.5 - 0.5 * light.contrast)
    lit *= gain[:, :, None] * tone
    return np.clip(lit, 0.0, 1.0, out=lit)
