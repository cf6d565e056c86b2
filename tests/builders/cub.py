"""A small CUB-200-2011 in the layout in which it is published."""

from pathlib import Path

from tests.builders.pictures import picture, save

PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape", "right eye",
    "right leg", "right wing", "tail", "throat",
)  # fmt: skip
CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
SIZE = 60, 48
BOX = 10, 8, 40, 32
"""Left, top, width and height of every bird."""


def point(image: int, part: int) -> tuple[float, float, bool]:
    """Where a part (from 1) of an image is, and whether it shows: no tail does, and the back lies outside the box."""
    return (2.0, 3.0, True) if part == 1 else (10.0 + part, 8.0 + image, part != 14)


def write_cub(root: Path, per_class: int = 6) -> Path:
    """So many photos of each of two classes; every third is of the official test split."""
    names = {}
    for label, name in enumerate(CLASSES, start=1):
        for index in range(per_class):
            number = len(names) + 1
            names[number] = (label, f"{name}/{name[4:]}_{index:04d}_{number}.jpg", index % 3 != 2)
            save(root / "images" / names[number][1], picture(number, *SIZE))
    (root / "parts").mkdir()
    lines = {
        "images.txt": [f"{number} {path}" for number, (_, path, _) in names.items()],
        "classes.txt": [f"{label} {name}" for label, name in enumerate(CLASSES, start=1)],
        "image_class_labels.txt": [f"{number} {label}" for number, (label, _, _) in names.items()],
        "train_test_split.txt": [f"{number} {int(train)}" for number, (_, _, train) in names.items()],
        "bounding_boxes.txt": [f"{number} {' '.join(f'{side:.1f}' for side in BOX)}" for number in names],
        "parts/parts.txt": [f"{part} {name}" for part, name in enumerate(PARTS, start=1)],
        "parts/part_locs.txt": [_line(number, part) for number in names for part in range(1, len(PARTS) + 1)],
    }
    for file, rows in lines.items():
        (root / file).write_text("".join(f"{row}\n" for row in rows))
    return root


def _line(image: int, part: int) -> str:
    x, y, visible = point(image, part)
    return f"{image} {part} {x:.1f} {y:.1f} 1" if visible else f"{image} {part} 0.0 0.0 0"
