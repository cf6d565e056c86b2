"""Draws single image files of a data set; imports little, since every worker process loads it."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from protoquant.data.partbirds.render import render
from protoquant.data.partbirds.scene import sample_scene
from protoquant.data.partbirds.spec import PartBirdsSpec
from protoquant.data.splits import SplitName


@dataclass(frozen=True)
class Order:
    """One image to draw, and the file to write it to."""

    spec: PartBirdsSpec
    class_index: int
    split: SplitName
    index: int
    file: Path


def draw(order: Order) -> None:
    """Draw an image and write it as PNG; its folder must exist."""
    scene = sample_scene(order.spec, order.class_index, order.split, order.index)
    Image.fromarray(render(scene).image).save(order.file)
