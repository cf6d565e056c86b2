"""The text files of CUB-200-2011: a line for each image or point, its fields separated by spaces.

Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011, and the README beside its files.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TypeVar

import pandas as pd

from protoquant.core.errors import DataError
from protoquant.data.complete import few, require_files

NAME = "CUB-200-2011"
IMAGES, CLASSES, LABELS, SPLIT, BOXES = (
    "images.txt",
    "classes.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
)
PARTS, POINTS = "parts/parts.txt", "parts/part_locs.txt"
_MEND = "copy the whole data set again"
Value = TypeVar("Value")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CubFiles:
    """Everything that the files say, by the number of an image.

    Attributes:
        paths: The image files, relative to the root: ``images/CLASS/NAME.jpg``.
        classes: The name of each class by its number, in the order of the numbers.
        labels: The number of each image's class.
        train: Whether an image belongs to the official train split; the others belong to test.
        boxes: Left, top, width and height of each bird in pixels.
        parts: The names of the parts, in the order of their numbers.
        points: ``image`` (number), ``part`` (index into parts), ``x`` and ``y`` in pixels: the visible points.
    """

    paths: Mapping[int, str]
    classes: Mapping[int, str]
    labels: Mapping[int, int]
    train: Mapping[int, bool]
    boxes: Mapping[int, Box]
    parts: tuple[str, ...]
    points: pd.DataFrame


def read_cub(root: Path) -> CubFiles:
    """Read and check the files; images are not opened.

    Raises:
        DataError: A file or an image is missing, a line is not what it should be, or two files do not speak of the same
            images, classes or parts.
    """
    require_files(root, [IMAGES, CLASSES, LABELS, SPLIT, BOXES, PARTS, POINTS], NAME)
    paths = _by_number(root / IMAGES, lambda text: f"images/{_text(text)}")
    classes = _by_number(root / CLASSES, _text)
    labels = _by_number(root / LABELS, int)
    train = _by_number(root / SPLIT, _flag)
    boxes = _by_number(root / BOXES, _box)
    parts = _by_number(root / PARTS, _text)
    for name, numbers in ((LABELS, labels), (SPLIT, train), (BOXES, boxes)):
        _check_same(root / name, numbers, paths)
    if strange := sorted(set(labels.values()) - set(classes)):
        found = few([str(label) for label in strange], "class", "classes")
        raise DataError(f"{root / LABELS} names {found} that are not in {CLASSES}; {_MEND}")
    points = _points(root / POINTS, paths, list(parts))
    require_files(root, paths.values(), NAME)
    return CubFiles(paths, classes, labels, train, boxes, tuple(parts.values()), points)


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Every line that is not empty, and where it stands."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8 ({error}); {_MEND}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield line.strip(), f"{file}, line {number}"


def _by_number(file: Path, parse: Callable[[str], Value]) -> dict[int, Value]:
    """The rest of each line by the number that it begins with, sorted by number."""
    found: dict[int, Value] = {}
    for line, where in _lines(file):
        number, _, rest = line.partition(" ")
        try:
            key, value = int(number), parse(rest.strip())
        except ValueError as error:
            raise DataError(f"{where}: expected a number and its value, got {line!r}; {_MEND}") from error
        if key in found:
            raise DataError(f"{where}: number {key} stands there twice; {_MEND}")
        found[key] = value
    return dict(sorted(found.items()))


def _text(text: str) -> str:
    if not text:
        raise ValueError("the value is missing")
    return text


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("neither 0 nor 1")
    return text == "1"


def _number(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError("not finite")
    return value


def _box(text: str) -> Box:
    left, top, width, height = map(_number, text.split())
    if not (width >= 1 and height >= 1):
        raise ValueError("the box is empty")
    return left, top, width, height


def _check_same(file: Path, numbers: Collection[int], images: Collection[int]) -> None:
    """Check that a file speaks of each image, and of no other."""
    lost, strange = sorted(set(images) - set(numbers)), sorted(set(numbers) - set(images))
    if lost:
        raise DataError(f"{file} has no line for {_images(lost)} of {IMAGES}; {_MEND}")
    if strange:
        raise DataError(f"{file} has lines for {_images(strange)} that {IMAGES} does not name; {_MEND}")


def _images(numbers: list[int]) -> str:
    return few([str(number) for number in numbers], "image", "images")


def _points(file: Path, images: Collection[int], parts: list[int]) -> pd.DataFrame:
    """The visible points, after a check that each image has each part once."""
    rows: list[tuple[int, int, float, float, bool]] = []
    for line, where in _lines(file):
        try:
            image, part, x, y, visible = line.split()
            rows.append((int(image), parts.index(int(part)), _number(x), _number(y), _flag(visible)))
        except ValueError as error:
            raise DataError(f"{where}: expected image, part, x, y and 0 or 1, got {line!r}; {_MEND}") from error
    frame = pd.DataFrame(rows, columns=["image", "part", "x", "y", "visible"])
    _check_same(file, set(frame["image"]), images)
    counts = frame.drop_duplicates(["image", "part"]).groupby("image").size()
    odd = sorted(counts[(counts != len(parts)) | (frame.groupby("image").size() != len(parts))].index)
    if odd:
        raise DataError(f"{file} must have each of the {len(parts)} parts once, {_images(odd)} has not; {_MEND}")
    return frame[frame["visible"]].drop(columns="visible")
