"""A small FunnyBirds in the layout in which it is published."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from tests.builders.pictures import picture

PARTS = ("beak", "eye", "foot", "tail", "wing")
COUNTS = {"beak": 4, "eye": 3, "foot": 4, "tail": 9, "wing": 6}
CLASSES = (
    {"beak": 3, "eye": 1, "foot": 0, "tail": 4, "wing": 4},
    {"beak": 3, "eye": 1, "foot": 2, "tail": 7, "wing": 2},
)
SIDE = 32
COLOURS = {
    "beak": [(255, 255, 0)], "eye": [(255, 255, 253), (255, 255, 254)], "foot": [(255, 0, 1), (255, 0, 2)],
    "tail": [(0, 0, 255)], "wing": [(0, 255, 1), (0, 255, 2)],
}  # fmt: skip
LOST = frozenset({"foot", "tail", "wing"})
"""Without these, the two classes are alike."""
OBJECTS = 2


def write_funnybirds(root: Path, train: int = 6, test: int = 2) -> Path:
    """So many images of each of two classes; the first train image of each has lost LOST, the second its beak."""
    (root / "test").mkdir(parents=True)
    models = {part: [_model(part, number) for number in range(count)] for part, count in COUNTS.items()}
    (root / "parts.json").write_text(json.dumps(models))
    classes = [{"class_idx": label, "parts": dict(parts)} for label, parts in enumerate(CLASSES)]
    (root / "classes.json").write_text(json.dumps(classes))
    for split, count in (("train", train), ("test", test)):
        records = []
        for label in range(len(CLASSES)):
            for index in range(count):
                lost = {0: LOST, 1: frozenset({"beak"})}.get(index, frozenset()) if split == "train" else frozenset()
                name = f"{label}/{len(records):06d}.png"
                _save(root / split / name, _photo(1000 * (split == "test") + len(records)))
                _save(root / f"{split}_part_map" / name, part_map(lost))
                if split == "test":
                    _interventions(root / "test_interventions" / name.removesuffix(".png"), len(records))
                records.append(_record(label, lost, models))
        (root / f"dataset_{split}.json").write_text(json.dumps(records))
    return root


def part_map(lost: frozenset[str] = frozenset()) -> Image.Image:
    """A body of 16 x 16 pixels, a row of 2 x 2 pixels for each instance of a part, a blended edge and an object."""
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[8:24, 8:24, :3] = 170
    pixels[24, 8:24, :3] = 85
    pixels[0:4, 0:4, :3] = (204, 204, 205)
    for row, part in enumerate(PARTS):
        for instance, colour in enumerate(COLOURS[part] if part not in lost else []):
            pixels[8 + 2 * row : 10 + 2 * row, 8 + 4 * instance : 10 + 4 * instance, :3] = colour
    return Image.fromarray(pixels)


def _photo(number: int) -> Image.Image:
    return picture(number, SIDE, SIDE).convert("RGBA")


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _interventions(folder: Path, number: int) -> None:
    for count in range(len(PARTS) + 1):
        for kept in combinations(PARTS, count):
            _save(folder / f"body_{'_'.join(kept)}.png", _photo(5000 + number))
    for index in range(OBJECTS):
        _save(folder / "background_interventions" / f"{index}.png", _photo(6000 + index))


def _model(part: str, number: int) -> dict[str, str]:
    if part in ("eye", "foot"):
        return {"model": f"{part}{number + 1:02d}.glb"}
    if part == "beak":
        return {"model": f"beak{number + 1:02d}.glb", "color": "yellow"}
    shapes = COUNTS[part] // 3
    return {"model": f"{part}{number % shapes + 1:02d}.glb", "color": ("red", "green", "blue")[number // shapes]}


def _record(label: int, lost: frozenset[str], models: dict[str, list[dict[str, str]]]) -> dict[str, object]:
    record: dict[str, object] = {"class_idx": label, "camera_distance": 362, "bg_objects": "4,3," if OBJECTS else ""}
    for part in PARTS:
        for key, value in models[part][CLASSES[label][part]].items():
            record[f"{part}_{key}"] = "placeholder" if part in lost else value
    return record
