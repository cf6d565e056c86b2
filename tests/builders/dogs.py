"""A small Stanford Dogs-120 in the layout in which it is published."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.builders.matlab import cells, write_mat
from tests.builders.pictures import save, small

CLASSES = ("n02085620-Chihuahua", "n02085936-Maltese_dog", "n02086240-Shih-Tzu")
TITLES = ("Chihuahua", "Maltese dog", "Shih-Tzu")
TRAIN, TEST = 4, (2, 3, 4)
COUNTS = {"train": 12, "test": 9}


def write_dogs(root: Path, lists: str = "") -> Path:
    """Four train photos of each of three breeds and two, three and four test photos; the lists may lie in a folder."""
    split: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, (name, tests) in enumerate(zip(CLASSES, TEST, strict=True), start=1):
        for index in range(TRAIN + tests):
            path = f"{name}/{name.partition('-')[0]}_{100 * label + index}.jpg"
            save(root / "Images" / path, small(100 * label + index))
            split["train" if index < TRAIN else "test"].append((path, label))
    for name, rows in split.items():
        write_list(root / lists / f"{name}_list.mat", rows)
    return root


def write_list(file: Path, rows: Sequence[tuple[str, int]]) -> None:
    """The list of a split: paths of images, paths of their annotations, labels from 1; a row for each."""
    paths = [path for path, _ in rows]
    variables = {
        "file_list": cells(paths, column=True),
        "annotation_list": cells([path.removesuffix(".jpg") for path in paths], column=True),
        "labels": np.array([[label] for _, label in rows], dtype=np.uint8),
    }
    write_mat(file, variables)
