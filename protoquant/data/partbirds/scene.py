"""A scene: every random choice behind one image, drawn before anything is painted."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from protoquant.core.errors import UsageError
from protoquant.core.seeding import derive_seed
from protoquant.data.partbirds.painting.palette import NAMED, PLUMAGES, Colour, darker, lighter, mix, shifted
from protoquant.data.partbirds.spec import PARTS, BirdClass, Part, PartBirdsSpec, bird_classes
from protoquant.data.splits import SplitName

BackdropKind: TypeAlias = Literal["sky", "meadow", "water", "foliage"]
ObjectKind: TypeAlias = Literal[
    "branch", "sprig", "stone", "flower", "berries", "cloud", "tuft", "mushroom", "plume", "perch", "mound", "leaf"
]

BEHIND: dict[BackdropKind, tuple[ObjectKind, ...]] = {
    "sky": ("cloud", "cloud", "branch", "sprig", "berries", "plume"),
    "meadow": ("stone", "flower", "flower", "tuft", "mushroom", "plume", "branch"),
    "water": ("stone", "tuft", "tuft", "sprig", "plume", "berries"),
    "foliage": ("branch", "sprig", "sprig", "berries", "berries", "plume"),
}
"""Objects that may lie behind the bird, by backdrop."""


@dataclass(frozen=True)
class Pose:
    """Where the bird stands and how it holds itself. Angles in degrees, lengths in bird units (body = 116)."""

    x: float
    y: float
    scale: float
    flip: bool
    tilt: float
    head_angle: float
    head_turn: float
    wing_angle: float
    tail_angle: float
    tail_spread: float
    stride: tuple[float, float]
    crouch: float


HIPS = ((-8.0, 30.0), (10.0, 31.0))
"""Where the far and the near leg leave the body, in bird units."""


def ground_level(bird: BirdClass, pose: Pose) -> float:
    """How far the ground lies below the bird's centre, in bird units; wading birds have longer legs."""
    return HIPS[1][1] + 36.0 * pose.crouch * (1.35 if bird.foot.shape == "wading" else 1.0)


@dataclass(frozen=True)
class Light:
    """The light: direction towards it (x, y), exposure, warmth, uneven brightness, and depth of shadows."""

    direction: tuple[float, float]
    exposure: float
    warmth: float
    gradient: tuple[float, float]
    contrast: float
    shadow: float


@dataclass(frozen=True)
class Plumage:
    """Colours that vary from bird to bird and say nothing about the class."""

    back: Colour
    belly: Colour
    tints: tuple[tuple[float, float, float], ...]
    seed: int

    def tint(self, part: Part, name: str) -> Colour:
        """The named colour as it appears on a part of this bird."""
        return shifted(NAMED[name], *self.tints[PARTS.index(part)])


@dataclass(frozen=True)
class Backdrop:
    """The background: its kind, three colours from top to bottom, the horizon's height and the seed of its texture."""

    kind: BackdropKind
    colours: tuple[Colour, Colour, Colour]
    horizon: float
    seed: int


@dataclass(frozen=True)
class SceneObject:
    """A thing that is not the bird; x, y and scale are shares of the image's side, the angle is in degrees."""

    kind: ObjectKind
    x: float
    y: float
    scale: float
    angle: float
    flip: bool
    colour: Colour
    accent: Colour
    front: bool
    seed: int


@dataclass(frozen=True)
class Scene:
    """Everything that decides one image; `objects` are in painting order, those in front of the bird last."""

    size: int
    bird: BirdClass
    pose: Pose
    light: Light
    plumage: Plumage
    backdrop: Backdrop
    objects: tuple[SceneObject, ...]


def sample_scene(spec: PartBirdsSpec, class_index: int, split: SplitName, index: int) -> Scene:
    """Draw one scene from its own seed, so that any image can be made alone.

    Args:
        spec: The data set.
        class_index: In [0, spec.classes).
        split: The split the image belongs to.
        index: Number of the image in its class and split, in [0, spec.images(split)).

    Raises:
        UsageError: `class_index` or `index` is outside its range.
    """
    for name, value, limit in (("class_index", class_index, spec.classes), ("index", index, spec.images(split))):
        if not 0 <= value < limit:
            raise UsageError(f"{name} must be in [0, {limit}) for this partbirds spec and split {split}, got {value}")
    rng = np.random.default_rng(derive_seed(spec.seed, "partbirds", "scene", split, class_index, index))
    bird = bird_classes(spec)[class_index]
    pose, light = _pose(rng), _light(rng)
    backdrop = _backdrop(rng)
    plumage = _plumage(rng)
    objects = _objects(rng, bird, pose, backdrop)
    return Scene(spec.size, bird, pose, light, plumage, backdrop, objects)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _pose(rng: np.random.Generator) -> Pose:
    raised, flip = rng.random() < 0.3, bool(rng.random() < 0.5)
    return Pose(
        x=0.5 + (-0.025 if flip else 0.025) + _uniform(rng, -0.04, 0.04),
        y=_uniform(rng, 0.45, 0.54),
        scale=_uniform(rng, 0.79, 0.97),
        flip=flip,
        tilt=_uniform(rng, -16, 14),
        head_angle=_uniform(rng, -18, 20),
        head_turn=_uniform(rng, 0.72, 1.0),
        wing_angle=_uniform(rng, 35, 75) if raised else _uniform(rng, -8, 14),
        tail_angle=_uniform(rng, -22, 22),
        tail_spread=_uniform(rng, 0.75, 1.3),
        stride=(_uniform(rng, -12, 8), _uniform(rng, -4, 14)),
        crouch=_uniform(rng, 0.75, 1.05),
    )


def _light(rng: np.random.Generator) -> Light:
    angle = np.radians(_uniform(rng, -150, -30))
    slope = np.radians(_uniform(rng, 0, 360))
    strength = _uniform(rng, 0.0, 0.22)
    return Light(
        direction=(float(np.cos(angle)), float(np.sin(angle))),
        exposure=_uniform(rng, 0.78, 1.14),
        warmth=_uniform(rng, -0.10, 0.13),
        gradient=(float(np.cos(slope)) * strength, float(np.sin(slope)) * strength),
        contrast=_uniform(rng, 0.85, 1.12),
        shadow=_uniform(rng, 0.15, 0.42),
    )


def _plumage(rng: np.random.Generator) -> Plumage:
    back, belly = PLUMAGES[int(rng.integers(len(PLUMAGES)))]
    change = (_uniform(rng, -0.02, 0.02), _uniform(rng, 0.7, 1.2), _uniform(rng, 0.85, 1.1))
    tints = tuple((_uniform(rng, -0.02, 0.02), _uniform(rng, 0.8, 1.1), _uniform(rng, 0.85, 1.1)) for _ in PARTS)
    return Plumage(shifted(back, *change), shifted(belly, *change), tints, _seed(rng))


_BACKDROPS: dict[BackdropKind, tuple[tuple[Colour, Colour, Colour], ...]] = {
    "sky": (
        ((0.36, 0.58, 0.82), (0.62, 0.78, 0.90), (0.87, 0.91, 0.92)),
        ((0.45, 0.48, 0.62), (0.80, 0.66, 0.62), (0.96, 0.82, 0.64)),
        ((0.62, 0.68, 0.74), (0.76, 0.80, 0.83), (0.88, 0.89, 0.88)),
    ),
    "meadow": (
        ((0.66, 0.80, 0.88), (0.50, 0.64, 0.34), (0.33, 0.48, 0.20)),
        ((0.84, 0.84, 0.78), (0.66, 0.62, 0.36), (0.48, 0.44, 0.22)),
        ((0.56, 0.68, 0.62), (0.36, 0.52, 0.30), (0.20, 0.36, 0.18)),
    ),
    "water": (
        ((0.60, 0.72, 0.72), (0.36, 0.56, 0.64), (0.16, 0.36, 0.48)),
        ((0.82, 0.80, 0.74), (0.56, 0.64, 0.66), (0.32, 0.44, 0.50)),
        ((0.42, 0.54, 0.44), (0.30, 0.46, 0.44), (0.14, 0.28, 0.30)),
    ),
    "foliage": (
        ((0.48, 0.62, 0.34), (0.30, 0.46, 0.24), (0.15, 0.28, 0.16)),
        ((0.74, 0.66, 0.36), (0.56, 0.46, 0.24), (0.34, 0.26, 0.15)),
        ((0.40, 0.54, 0.48), (0.22, 0.38, 0.34), (0.10, 0.22, 0.22)),
    ),
}


def _backdrop(rng: np.random.Generator) -> Backdrop:
    kind = list(_BACKDROPS)[int(rng.integers(len(_BACKDROPS)))]
    colours = _BACKDROPS[kind][int(rng.integers(3))]
    change = (_uniform(rng, -0.03, 0.03), _uniform(rng, 0.75, 1.15), _uniform(rng, 0.85, 1.08))
    top, middle, bottom = (shifted(colour, *change) for colour in colours)
    return Backdrop(kind, (top, middle, bottom), _uniform(rng, 0.30, 0.62), _seed(rng))


def _objects(rng: np.random.Generator, bird: BirdClass, pose: Pose, backdrop: Backdrop) -> tuple[SceneObject, ...]:
    """Draw some objects behind the bird, its support, and sometimes objects in front of it."""
    kinds = BEHIND[backdrop.kind]
    behind = [_behind(rng, kinds[int(rng.integers(len(kinds)))]) for _ in range(int(rng.integers(2, 6)))]
    behind.sort(key=lambda thing: (thing.kind != "cloud", thing.y))
    front = [_front(rng, pose, backdrop) for _ in range(int(rng.choice(3, p=(0.7, 0.26, 0.04))))]
    return (*behind, _support(rng, bird, pose, backdrop), *front)


def _behind(rng: np.random.Generator, kind: ObjectKind) -> SceneObject:
    high = {"cloud": (0.05, 0.4), "branch": (0.05, 0.95), "sprig": (0.0, 0.9), "berries": (0.05, 0.85)}
    low, top = high.get(kind, (0.55, 0.97))
    return _object(rng, kind, x=_uniform(rng, 0.02, 0.98), y=_uniform(rng, low, top), front=False)


def _front(rng: np.random.Generator, pose: Pose, backdrop: Backdrop) -> SceneObject:
    kinds: tuple[ObjectKind, ...] = ("leaf", "sprig", "branch", "tuft")
    kind = kinds[int(rng.choice(4, p=(0.35, 0.3, 0.15, 0.2)))]
    if kind == "tuft" and backdrop.kind in _WITH_GROUND:
        return _object(rng, kind, x=pose.x + _uniform(rng, -0.4, 0.4), y=_uniform(rng, 0.88, 1.02), front=True)
    x, y = pose.x + _uniform(rng, -0.4, 0.4), pose.y + _uniform(rng, -0.28, 0.3)
    return _object(rng, "leaf" if kind == "tuft" else kind, x=x, y=y, front=True)


_WITH_GROUND: frozenset[BackdropKind] = frozenset({"meadow", "water"})


def _support(rng: np.random.Generator, bird: BirdClass, pose: Pose, backdrop: Backdrop) -> SceneObject:
    on_ground = backdrop.kind in _WITH_GROUND and rng.random() < 0.6
    kind: ObjectKind = "mound" if on_ground else "perch"
    ground = pose.y + ground_level(bird, pose) * pose.scale / 256.0
    return _object(rng, kind, x=pose.x, y=ground, front=False)


def _object(rng: np.random.Generator, kind: ObjectKind, *, x: float, y: float, front: bool) -> SceneObject:
    colour, accent = _object_colours(rng, kind)
    angle = _uniform(rng, -25, 25) if kind not in {"leaf", "plume"} else _uniform(rng, -180, 180)
    if kind in {"perch", "mound", "cloud"}:
        angle = _uniform(rng, -8, 8)
    return SceneObject(
        kind, x, y, _uniform(rng, 0.75, 1.3), angle, bool(rng.random() < 0.5), colour, accent, front, _seed(rng)
    )


def _object_colours(rng: np.random.Generator, kind: ObjectKind) -> tuple[Colour, Colour]:
    """Colours of an object: natural ones for wood, leaf and stone, plumage colours for the rest."""
    names = list(NAMED)
    bright = NAMED[names[int(rng.integers(len(names)))]]
    second = NAMED[names[int(rng.integers(len(names)))]]
    wood = mix((0.42, 0.31, 0.22), (0.55, 0.48, 0.42), _uniform(rng, 0, 1))
    green = mix((0.30, 0.46, 0.18), (0.50, 0.60, 0.26), _uniform(rng, 0, 1))
    autumn = mix((0.72, 0.40, 0.14), (0.62, 0.22, 0.14), _uniform(rng, 0, 1))
    leaf = green if rng.random() < 0.7 else autumn
    stone = mix((0.46, 0.45, 0.44), (0.66, 0.62, 0.56), _uniform(rng, 0, 1))
    natural: dict[ObjectKind, tuple[Colour, Colour]] = {
        "branch": (wood, leaf), "perch": (wood, leaf), "sprig": (leaf, wood), "leaf": (leaf, darker(leaf, 0.4)),
        "stone": (stone, lighter(stone, 0.3)), "mound": (stone, green), "cloud": ((0.97, 0.97, 0.97), stone),
        "tuft": (green, lighter(green, 0.4)), "berries": (bright, leaf),
    }  # fmt: skip
    return natural.get(kind, (bright, second))
