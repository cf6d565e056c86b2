"""Writes train and validation as class folders, for a training script that reads nothing else."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from protoquant.core.errors import DataError, UsageError
from protoquant.data.images import read_bytes
from protoquant.data.splits import SplitName
from protoquant.data.table import ImageTable

FOLDERS: Mapping[SplitName, str] = {"train": "train", "validation": "val"}
"""Folder of each split; test is not among them, so that nothing can be chosen by it."""


def export_split(images: Path, root: Path, out: Path) -> dict[str, int]:
    """Link every image of train and validation at ``out/FOLDER/CLASS/NAME``; an image in an archive is copied.

    A name is the image's id with ``/`` written as ``__``. Links are absolute.

    Args:
        images: Written by prepare.
        root: ``prepare.root``.
        out: The new folder.

    Returns:
        Number of images by split.

    Raises:
        UsageError: ``out`` is there already, or its parent is not. ArtifactError: ``images`` is damaged.
        DataError: An image is gone, or a class has a name that no folder can have.
    """
    if out.exists():
        raise UsageError(f"{out} is there already; name a new folder, or remove it first")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}; make it first")
    table = ImageTable.open(images, root)
    if odd := [name for name in table.classes if "/" in name or "\0" in name or name in {".", ".."}]:
        raise DataError(f"class {odd[0]!r} can be no folder; rename it in the data")
    aside = out.with_name(f"{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    counts: dict[str, int] = {}
    for split, folder in FOLDERS.items():
        part = table.split(split)
        for image_id, name in zip(part.frame["image_id"], part.frame["class_name"], strict=True):
            place = aside / folder / name / image_id.replace("/", "__")
            place.parent.mkdir(parents=True, exist_ok=True)
            _bring(part.path(image_id), place)
        counts[split] = len(part)
    aside.rename(out)
    return counts


def _bring(source: Path, place: Path) -> None:
    if source.is_file():
        place.symlink_to(source.resolve())
    else:
        place.write_bytes(read_bytes(source))
