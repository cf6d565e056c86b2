"""A small Stanford Cars-196 in each of the layouts in which copies of it are found."""

from collections.abc import Sequence
from pathlib import Path

from tests.builders.matlab import cells, structs, write_mat
from tests.builders.pictures import save, small

TITLES = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012")
"""Official order; that of the alphabet, whatever the capitals, has the first two the other way round."""
TRAIN, TEST = (1, 2, 3, 1, 2, 3, 2), (3, 1, 2, 1, 3)
"""The classes of the images of each split."""
COUNTS = {"train": 7, "test": 5}


def write_devkit(root: Path, tests: str = "cars_test_annos_withlabels.mat") -> Path:
    """The layout of the devkit; ``tests`` is where the labels of test lie, or empty."""
    write_mat(root / "devkit/cars_meta.mat", {"class_names": cells(TITLES)})
    for split, labels, file in (("train", TRAIN, "devkit/cars_train_annos.mat"), ("test", TEST, tests)):
        names = [f"{number:05d}.jpg" for number in range(1, len(labels) + 1)]
        for number, name in enumerate(names):
            save(root / f"cars_{split}" / name, small(100 * (split == "test") + number))
        if file:
            write_annotations(root / file, names, labels)
    unlabelled = {**_boxes(len(TEST)), "fname": [f"{number:05d}.jpg" for number in range(1, len(TEST) + 1)]}
    write_mat(root / "devkit/cars_test_annos.mat", {"annotations": structs(unlabelled)})
    return root


def write_annotations(file: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    """The annotations of a split."""
    write_mat(file, {"annotations": structs({**_boxes(len(names)), "class": labels, "fname": names})})


def write_one_folder(root: Path) -> Path:
    """The layout with all images in one folder."""
    labels, tests = TRAIN + TEST, [0] * len(TRAIN) + [1] * len(TEST)
    paths = [f"car_ims/{number:06d}.jpg" for number in range(1, len(labels) + 1)]
    for number, path in enumerate(paths):
        save(root / path, small(number))
    fields = {"relative_im_path": paths, **_boxes(len(paths)), "class": labels, "test": tests}
    write_mat(root / "cars_annos.mat", {"annotations": structs(fields), "class_names": cells(TITLES)})
    return root


def write_class_folders(root: Path, wrapper: str = "car_data/car_data", *, names: bool = True) -> Path:
    """The layout with a folder for each class; names says whether their list lies beside them."""
    for split, labels in (("train", TRAIN), ("test", TEST)):
        for number, label in enumerate(labels):
            folder = TITLES[label - 1].replace("/", "-")
            save(root / wrapper / split / folder / f"{number:05d}.jpg", small(100 * (split == "test") + number))
    if names:
        (root / "names.csv").write_text("".join(f"{title}\n" for title in TITLES))
    return root


def _boxes(count: int) -> dict[str, list[int]]:
    return {f"bbox_{side}": [1 + place for place in range(count)] for side in ("x1", "y1", "x2", "y2")}
