"""Class-named folders of images, directly below the root or below train/, validation/ and test/.

The class is the first folder (below the split), however deep the image lies in it. ``split_folders`` says which folders
are splits. Hidden files and folders, and those that operating systems leave behind, are skipped.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from protoquant.core.errors import DataError, one_line
from protoquant.core.events import MessageEvent, OnEvent, ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.folder_walk import files_below, refuse_unreadable, subfolders, visible, writable
from protoquant.data.images import SUFFIXES, is_image_name
from protoquant.data.layout.known_layouts import other_layout
from protoquant.data.layout.split_folders import find_splits
from protoquant.data.quarantine import Reason, Rejected
from protoquant.data.readers.listing import Listing, natural_order


def read(root: Path, *, config: PrepareConfig | None = None, on_event: OnEvent = ignore, **_: object) -> Listing:
    """List the images of class-named folders.

    A file in a class folder without the name of an image, an image in no class folder, and a folder inside of a class
    that cannot be opened, are left out and reported.

    Args:
        root: The folder.
        config: ``splits``.
        on_event: Receives what is passed over.

    Returns:
        The images; every class folder is a class, even an empty one.

    Raises:
        DataError: The root is missing, not a folder or of another layout, its splits are unclear (see ``find_splits``),
            or a class or a split cannot be opened.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"prepare.root must be a folder of class-named folders; {root} {found} (params.yaml); correct it"
        )
    given = None if config is None else config.splits
    if given is None and (other := other_layout(root)):
        raise DataError(other)
    try:
        found_splits = find_splits(root, given)
    except DataError as error:
        raise DataError(one_line(error)) from error  # a folder's name may hold a line break
    for note in found_splits.notes:
        on_event(MessageEvent(note, level="warning"))
    rows: list[tuple[str, str, str | None]] = []
    rejected = _outside(root, _top_files(root))
    rejected += _outside(root, (path for folder in found_splits.beside for path in files_below(folder)))
    between = {place for base in found_splits.classes for place in (base, base.parent)} - {root}
    rejected += _outside(root, (path for place in sorted(between) for path in _top_files(place)))
    classes: set[str] = set()
    for base, split in found_splits.classes.items() or [(root, None)]:
        for folder in subfolders(base, refuse_unreadable):
            classes.add(folder.name)
            for one in _files(root, folder):
                if isinstance(one, Rejected):
                    rejected.append(one)
                else:
                    rows.append((one, folder.name, split))
    frame = pd.DataFrame(rows, columns=["path", "class_name", "split"])
    return Listing(frame, root, natural_order(classes), tuple(rejected))


def _files(root: Path, folder: Path) -> Iterator[str | Rejected]:
    """The images of a class folder by their paths below the root, and what of it is left out."""
    unreadable: list[OSError] = []
    paths = files_below(folder, unreadable.append)
    count = 0
    for path in paths:
        count += 1
        name = path.relative_to(root).as_posix()
        yield _fault(name) or name
    for error in unreadable:
        if not count:
            refuse_unreadable(error)
        name = writable(Path(error.filename).relative_to(root).as_posix())
        yield Rejected(
            name, Reason.UNREADABLE, f"is a folder that cannot be opened ({error.strerror}); mend its rights"
        )


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


def _top_files(folder: Path) -> list[Path]:
    """The files beside class folders.

    Raises:
        DataError: One is a link that leads nowhere, perhaps to a class.
    """
    # Those of Path raise where a folder may not be read or links form a loop.
    paths = sorted(path for path in folder.iterdir() if visible(path.name) and not os.path.isdir(path))  # noqa: PTH112
    for path in paths:
        if path.is_symlink() and not path.suffix and not os.path.exists(path):  # noqa: PTH110
            raise DataError(f"{path} is a link that leads nowhere; mend it, or remove it")
    return paths
