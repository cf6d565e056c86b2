"""Recognises a folder that another reader takes, or none, so that nobody trains on its wrong classes."""

import os
from pathlib import Path

from protoquant.data.folder_walk import subfolders

_MARKS = {
    "cub": ("CUB-200-2011", ("images.txt", "image_class_labels.txt")),
    "funnybirds": ("FunnyBirds", ("classes.json", "dataset_train.json")),
    "cars": ("Stanford Cars-196", ("devkit/cars_meta.mat", "devkit/cars_train_annos.mat")),
    "dogs": ("Stanford Dogs-120", ("train_list.mat", "test_list.mat")),
    "imagenet": ("ImageNet-1k", ("val/ILSVRC2012_val_00000001.JPEG",)),
    "flowers": ("Oxford Flowers-102", ("imagelabels.mat", "setid.mat")),
}


def other_layout(root: Path) -> str | None:
    """What the folder is and what to do, if it is no folder of class-named folders; None if nothing says so.

    Args:
        root: A folder that exists.
    """
    for reader, (title, marks) in _MARKS.items():
        if all(os.path.isfile(root / mark) for mark in marks):  # noqa: PTH113 - that of Path may raise
            return f"{root} is {title} as it is published; set prepare.reader: {reader} (params.yaml)"
    categories = [folder for folder in subfolders(root) if _is_mvtec(folder)]
    if _is_mvtec(root) or categories:
        of = f" ({', '.join(folder.name for folder in categories[:3])})" if categories else ""
        return (
            f"{root} is laid out like MVTec AD{of}: train holds good images alone, and every defect lies in test; a "
            f"classifier must see both in train, so list the images with splits of your own in a table "
            f"(prepare.reader: table)"
        )
    return None


def _is_mvtec(folder: Path) -> bool:
    train, test = folder / "train", folder / "test"
    kinds = {inner.name for inner in subfolders(test)}
    return [inner.name for inner in subfolders(train)] == ["good"] and "good" in kinds and len(kinds) > 1
