"""What FunnyBirds says of parts: variants of each class, colours of part maps, names of interventions.

Source: Hesse et al., "FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of Explainable AI Methods",
ICCV 2023.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from protoquant.data.images import open_image
from protoquant.data.parts.labels import pack_labels
from protoquant.data.parts.listing import JOIN
from protoquant.data.parts.schema import PartSchema

PARTS = ("beak", "eye", "foot", "tail", "wing")
BODY = "body"
ABSENT = "placeholder"
"""What a record holds as the model of a part that the image has lost."""

_COLOURS: Mapping[tuple[int, int, int], str] = {
    (255, 255, 0): "beak",
    (255, 255, 253): "eye",
    (255, 255, 254): "eye",
    (255, 0, 1): "foot",
    (255, 0, 2): "foot",
    (0, 0, 255): "tail",
    (0, 255, 1): "wing",
    (0, 255, 2): "wing",
    (170, 170, 170): BODY,
}
"""The colours of part maps. Object i of the background is (204, 204, 204 + i), the sky black."""


def part_labels(colours: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Number the pixels of a part map; the two eyes, feet and wings are one part each.

    Only exact colours count: pixels at an edge hold a blend of two colours, and a blend may look like a third part. The
    body is the one grey of which published maps show head and trunk, (170, 170, 170). Every other colour (the sky,
    objects, blends: 0.2 % of the pixels of the published maps) is background.

    Args:
        colours: The map, RGB.

    Returns:
        0 for the background, 1 to 5 for the parts in the order of ``PARTS``, 6 for the body.
    """
    names = (*PARTS, BODY)
    red, green, blue = (colours[:, :, channel].astype(np.uint32) for channel in range(3))
    code = (red << 16) | (green << 8) | blue
    labels = np.zeros(code.shape, np.uint8)
    for (r, g, b), name in _COLOURS.items():
        labels[code == (r << 16 | g << 8 | b)] = names.index(name) + 1
    return labels


def read_part_map(path: Path) -> bytes:
    """Read a part map as packed labels.

    Raises:
        ImageError: The file is not an image.
    """
    return pack_labels(part_labels(np.asarray(open_image(path))))


def schema_of(classes: Sequence[Mapping[str, Any]], parts: Mapping[str, Sequence[Mapping[str, str]]]) -> PartSchema:
    """The parts, and the variants that make up each class.

    Args:
        classes: ``classes.json``.
        parts: ``parts.json``.

    Raises:
        KeyError, IndexError: One of the two lacks a part or a variant.
    """
    variants = {
        str(one["class_idx"]): {part: _variant(parts[part][one["parts"][part]]) for part in PARTS} for one in classes
    }
    return PartSchema("masks", PARTS, BODY, variants=variants)


def fitting(record: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> list[int]:
    """The classes that have all parts that an image shows: more than one if it lost the parts that tell them apart."""
    own = next(one["parts"] for one in classes if one["class_idx"] == record["class_idx"])
    shown = [part for part in PARTS if record[f"{part}_model"] != ABSENT]
    return [one["class_idx"] for one in classes if all(one["parts"][part] == own[part] for part in shown)]


def interventions(record: Mapping[str, Any], image: str) -> Iterator[tuple[str, str, str]]:
    """The interventions on a test image: kind, what is removed, and the file.

    All 31 proper subsets of the parts, and each object of the background; the file in which no part is missing is the
    image itself and no intervention.

    Args:
        record: Its record in ``dataset_test.json``.
        image: Its path, ``test/CLASS/NUMBER.png``.
    """
    folder = f"test_interventions/{image.removeprefix('test/').removesuffix('.png')}"
    for count in range(len(PARTS)):
        for kept in combinations(PARTS, count):
            removed = JOIN.join(part for part in PARTS if part not in kept)
            yield "parts", removed, f"{folder}/{BODY}_{'_'.join(kept)}.png"
    objects = [one for one in record["bg_objects"].split(",") if one]
    for number in range(len(objects)):
        yield "object", str(number), f"{folder}/background_interventions/{number}.png"


def _variant(variant: Mapping[str, str]) -> str:
    """Name a variant such as ``tail02 green``."""
    return " ".join([variant["model"].removesuffix(".glb"), *([variant["color"]] if "color" in variant else [])])
