"""Class-named folders of images, directly below the root or below train/, validation/ and test/.

The class is the first folder (below the split), however deep the image lies in it. The root has splits if it holds a
folder ``train``, or nothing but folders named like splits (``validation`` is also spelt ``val`` or ``valid``, in
small letters or capitals). Hidden files and folders, and those that operating systems leave behind, are skipped.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from protoquant.core.errors import DataError, suggest
from protoquant.data.folder_walk import files_below, visible, writable
from protoquant.data.images import SUFFIXES, is_image_name
from protoquant.data.quarantine import Reason, Rejected
from protoquant.data.readers.listing import Listing, natural_order
from protoquant.data.splits import ALIASES, SplitName


def read(root: Path, **_: object) -> Listing:
    """List the images of class-named folders.

    A file in a class folder without the name of an image, and an image in no class folder, are left out and reported.

    Args:
        root: The folder.

    Returns:
        The images; every class folder is a class, even an empty one.

    Raises:
        DataError: The root is missing or not a folder, a split has two folders or a misspelt one, or train is missing.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"prepare.root must be a folder of class-named folders; {root} {found} (params.yaml); correct it"
        )
    folders = _subfolders(root)
    splits = _split_folders(root, folders)
    strays = [folder for folder in folders if splits and folder not in splits]
    rows: list[tuple[str, str, str | None]] = []
    rejected = _outside(root, [*_top_files(root), *(path for folder in strays for path in files_below(folder))])
    classes: set[str] = set()
    for base, split in splits.items() if splits else [(root, None)]:
        if splits:
            rejected += _outside(root, _top_files(base))
        for folder in _subfolders(base):
            classes.add(folder.name)
            for path in files_below(folder):
                name = path.relative_to(root).as_posix()
                fault = _fault(name)
                if fault is None:
                    rows.append((name, folder.name, split))
                else:
                    rejected.append(fault)
    _check_strays(root, strays, classes)
    frame = pd.DataFrame(rows, columns=["path", "class_name", "split"])
    return Listing(frame, root, natural_order(classes), tuple(rejected))


def _split_folders(root: Path, folders: list[Path]) -> dict[Path, SplitName]:
    """The folders that hold a split each, in the order of their names; empty if the classes lie in the root."""
    found = {folder: ALIASES[folder.name.lower()] for folder in folders if folder.name.lower() in ALIASES}
    if "train" not in found.values():
        if found and len(found) == len(folders):
            names = ", ".join(folder.name for folder in found)
            raise DataError(f"{root} holds {names} but no folder train; add it, or put class folders in the root")
        return {}
    for split in found.values():
        same = [folder.name for folder in found if found[folder] == split]
        if len(same) > 1:
            raise DataError(f"{root} holds the {split} split more than once ({', '.join(same)}); keep one of them")
    return found


def _check_strays(root: Path, strays: list[Path], classes: set[str]) -> None:
    """Refuse a folder beside the splits that looks like a misspelt split."""
    for folder in strays:
        near = suggest(folder.name.lower(), ALIASES)
        if near and classes & {inner.name for inner in _subfolders(folder)}:
            raise DataError(f"{root} holds class folders below {folder.name!r}, which is no split{near}; rename it")


def _outside(root: Path, paths: Iterable[Path]) -> list[Rejected]:
    """The images among files that lie in no class folder."""
    detail = "lies in no class folder; move it into one, or remove it"
    names = (path.relative_to(root).as_posix() for path in paths if is_image_name(path.name))
    return [Rejected(writable(name), Reason.OUTSIDE_CLASS_FOLDER, detail) for name in names]


def _fault(name: str) -> Rejected | None:
    """The fault in a file's name, if there is one."""
    if writable(name) != name:
        return Rejected(writable(name), Reason.BAD_NAME, "has a name that is not UTF-8; rename it")
    if not is_image_name(name):
        ending = Path(name).suffix or "nothing"
        detail = f"is not named like an image: it ends in {ending}, images in {' '.join(SUFFIXES)}"
        return Rejected(name, Reason.NOT_AN_IMAGE, detail)
    return None


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and visible(path.name))


def _top_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.is_dir() and visible(path.name))
