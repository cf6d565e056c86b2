"""Draws single image files of a data set; imports little, since every worker process loads it."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from protoquant.data.partbirds.render import render
from protoquant.data.partbirds.scene import sample_scene
from protoquant.data.partbirds.spec import PartBirdsSpec
from protoquant.data.parts.labels import label_masks, pack_labels
from protoquant.data.splits import SplitName


@dataclass(frozen=True)
class Order:
    """One image to draw, perhaps with parts or objects left out, and the file to write it to."""

    spec: PartBirdsSpec
    class_index: int
    split: SplitName
    index: int
    file: Path
    without_parts: frozenset[str] = frozenset()
    without_objects: frozenset[int] = frozenset()


def draw(order: Order) -> bytes:
    """Draw an image and write it as PNG; its folder must exist.

    Returns:
        Its mask as ``pack_labels`` writes it: the parts in the order of ``spec.PARTS``, then the body.
    """
    scene = sample_scene(order.spec, order.class_index, order.split, order.index)
    made = render(scene, order.without_parts, order.without_objects)
    Image.fromarray(made.image).save(order.file)
    return pack_labels(label_masks(made.part_masks.values()))
