"""A small Oxford Flowers-102 in the layout in which it is published."""

from pathlib import Path

import numpy as np

from tests.builders.matlab import write_mat
from tests.builders.pictures import save, small

CLASSES = ("1", "2", "3")
SPLITS = {"trnid": (1, 4, 7, 2, 5, 8), "valid": (3, 6, 9), "tstid": (10, 11, 12, 13, 14, 15, 16)}
"""Numbers of images; image 1 is of class 1, image 4 of class 2, and so on."""
COUNTS = {"train": 6, "validation": 3, "test": 7}


def label(number: int) -> int:
    """The class of an image."""
    return (number - 1) // 3 % 3 + 1


def write_flowers(root: Path) -> Path:
    """Sixteen photos of three kinds."""
    count = sum(map(len, SPLITS.values()))
    for number in range(1, count + 1):
        save(root / f"jpg/image_{number:05d}.jpg", small(number))
    labels = np.array([[label(number) for number in range(1, count + 1)]], dtype=np.uint8)
    write_mat(root / "imagelabels.mat", {"labels": labels})
    write_splits(root, {name: list(numbers) for name, numbers in SPLITS.items()})
    return root


def write_splits(root: Path, splits: dict[str, list[int]]) -> None:
    """The file of the splits."""
    write_mat(root / "setid.mat", {name: np.array([numbers], dtype=np.uint16) for name, numbers in splits.items()})
