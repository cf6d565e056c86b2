"""What partbirds brings beside its images: its schema of parts, and test images with something removed."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from protoquant.data.partbirds.files import Order
from protoquant.data.partbirds.render import BODY
from protoquant.data.partbirds.scene import sample_scene
from protoquant.data.partbirds.spec import PARTS, BirdClass
from protoquant.data.parts.listing import JOIN
from protoquant.data.parts.schema import PartSchema

Row = tuple[str, str, str, str]
"""Image, kind, what was removed, path; see ``Interventions``."""


def schema_of(birds: tuple[BirdClass, ...]) -> PartSchema:
    """The five parts and the body; each class is a combination of variants."""
    variants = {bird.name: {str(part): _name(bird, part) for part in PARTS} for bird in birds}
    return PartSchema("masks", PARTS, BODY, variants=variants)


def removals(order: Order, image_id: str, into: Path) -> Iterator[tuple[Row, Order]]:
    """Every proper removal of parts, 31 of them, and the removal of each single object, in front or behind.

    Args:
        order: The whole image.
        image_id: Its id.
        into: The folder for interventions.

    Yields:
        The row of each intervention and the order that draws it.
    """
    folder = image_id.removesuffix(".png")
    for count in range(1, len(PARTS) + 1):
        for parts in combinations(PARTS, count):  # PARTS is sorted
            removed = JOIN.join(parts)
            path = f"{folder}/{removed}.png"
            yield (image_id, "parts", removed, path), replace(order, file=into / path, without_parts=frozenset(parts))
    scene = sample_scene(order.spec, order.class_index, order.split, order.index)
    for number in range(len(scene.objects)):
        path = f"{folder}/object{number}.png"
        made = replace(order, file=into / path, without_objects=frozenset({number}))
        yield (image_id, "object", str(number), path), made


def _name(bird: BirdClass, part: str) -> str:
    variant = getattr(bird, part)
    return f"{variant.shape} {variant.colour} {variant.accent}"
