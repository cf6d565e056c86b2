"""Defines partbirds: the spec of a data set, the variants of each part, and the choice of classes."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.core.errors import ConfigError, UsageError
from protoquant.core.section import Section
from protoquant.core.seeding import numpy_generator
from protoquant.data.splits import SplitName

Part: TypeAlias = Literal["beak", "eye", "foot", "tail", "wing"]
PARTS: tuple[Part, ...] = ("beak", "eye", "foot", "tail", "wing")
"""The parts that distinguish the classes; the body is the same for all of them."""


class PartBirdsSpec(Section):
    """A partbirds data set, as written in `data/partbirds.yaml`."""

    classes: int = Field(20, ge=2, le=200, description="kinds of birds")
    train: int = Field(30, ge=1, le=100_000, description="training images of each class")
    validation: int = Field(10, ge=1, le=100_000, description="validation images of each class")
    test: int = Field(20, ge=1, le=100_000, description="test images of each class")
    size: int = Field(256, ge=64, le=1024, description="width and height of an image in pixels")
    seed: int = Field(0, ge=0, description="decides the classes and every image")

    def images(self, split: SplitName) -> int:
        """Images of each class in a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class Variant:
    """One form that a part can take.

    Args:
        shape: Name of the form, known to the function that draws the part.
        colour: Main colour, a name in the palette.
        accent: Second colour, used for markings and tips.
    """

    shape: str
    colour: str
    accent: str


@dataclass(frozen=True)
class BirdClass:
    """A kind of bird: its index, its name, and the variant of each of its five parts."""

    index: int
    name: str
    beak: Variant
    eye: Variant
    foot: Variant
    tail: Variant
    wing: Variant


VARIANTS: dict[Part, tuple[Variant, ...]] = {
    "beak": (
        Variant("cone", "amber", "coral"),
        Variant("cone", "slate", "ink"),
        Variant("dagger", "gold", "amber"),
        Variant("dagger", "ink", "slate"),
        Variant("hook", "crimson", "ink"),
        Variant("hook", "gold", "slate"),
        Variant("spoon", "amber", "ink"),
        Variant("spoon", "slate", "ivory"),
        Variant("sickle", "crimson", "chestnut"),
        Variant("toucan", "amber", "ink"),
    ),
    "eye": (
        Variant("ring", "amber", "ivory"),
        Variant("ring", "chestnut", "azure"),
        Variant("mask", "gold", "ink"),
        Variant("brow", "chestnut", "ivory"),
        Variant("cheek", "chestnut", "crimson"),
        Variant("cheek", "ink", "gold"),
    ),
    "foot": (
        Variant("perching", "coral", "ink"),
        Variant("perching", "slate", "ink"),
        Variant("wading", "gold", "chestnut"),
        Variant("wading", "crimson", "ink"),
        Variant("webbed", "amber", "coral"),
        Variant("taloned", "gold", "ink"),
    ),
    "tail": (
        Variant("fan", "crimson", "ivory"),
        Variant("fan", "teal", "gold"),
        Variant("fork", "ink", "ivory"),
        Variant("fork", "azure", "ink"),
        Variant("wedge", "moss", "ink"),
        Variant("wedge", "amber", "chestnut"),
        Variant("racket", "violet", "indigo"),
        Variant("racket", "slate", "crimson"),
        Variant("stub", "chestnut", "ivory"),
        Variant("stub", "indigo", "rose"),
    ),
    "wing": (
        Variant("round", "azure", "indigo"),
        Variant("round", "moss", "gold"),
        Variant("barred", "chestnut", "ivory"),
        Variant("barred", "slate", "ink"),
        Variant("pointed", "indigo", "teal"),
        Variant("pointed", "crimson", "ink"),
        Variant("shoulder", "ink", "crimson"),
        Variant("shoulder", "teal", "gold"),
        Variant("spotted", "violet", "ivory"),
        Variant("spotted", "amber", "chestnut"),
    ),
}

FAMILY = 3
"""Number of classes in a family, which share most of their parts."""

DISTANCE = 2
"""Least number of parts in which any two classes differ."""


def load_spec(path: Path) -> PartBirdsSpec:
    """Read a spec from its YAML file.

    Args:
        path: A file of keys and values; a missing key takes its default.

    Raises:
        UsageError: There is no such file.
        ConfigError: It is not YAML, or a key or value is unknown or impossible.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(
            f"partbirds: no spec file at {path}; set prepare.root to one such as data/partbirds.yaml"
        ) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"partbirds: {path} is not YAML: {str(error).splitlines()[0]}") from error
    return PartBirdsSpec.parse({} if values is None else values, source=str(path))


@lru_cache(maxsize=8)
def bird_classes(spec: PartBirdsSpec) -> tuple[BirdClass, ...]:
    """Choose the classes of a data set.

    Families come from unrelated combinations of variants; within a family, each class is another one with two parts
    exchanged. With more classes, the first ones stay the same.

    Returns:
        Distinct combinations, one for each class index.
    """
    rng = numpy_generator(spec.seed, "partbirds", "classes")
    chosen: list[tuple[int, ...]] = []
    while len(chosen) < spec.classes:
        family_start = len(chosen) - len(chosen) % FAMILY
        combination = _founder(rng) if len(chosen) == family_start else _sibling(rng, chosen[family_start:])
        if all(_differing(combination, other) >= DISTANCE for other in chosen):
            chosen.append(combination)
    return tuple(_bird_class(index, combination) for index, combination in enumerate(chosen))


def _founder(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(rng.integers(len(VARIANTS[part]))) for part in PARTS)


def _sibling(rng: np.random.Generator, family: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Exchange two parts of a member of the family."""
    combination = list(family[int(rng.integers(len(family)))])
    for part in rng.choice(len(PARTS), size=DISTANCE, replace=False).tolist():
        count = len(VARIANTS[PARTS[part]])
        combination[part] = (combination[part] + int(rng.integers(1, count))) % count
    return tuple(combination)


def _differing(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def _bird_class(index: int, combination: tuple[int, ...]) -> BirdClass:
    beak, eye, foot, tail, wing = (VARIANTS[part][number] for part, number in zip(PARTS, combination, strict=True))
    name = f"{index:03d}_{wing.colour}_{beak.shape}bill_{tail.shape}tail"
    return BirdClass(index, name, beak, eye, foot, tail, wing)
