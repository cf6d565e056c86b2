"""ImageNet-1k (ILSVRC2012): photos of 1,000 classes, named by their wnids and in the order of these.

Train is ``train/n01440764/*.JPEG`` or ``ILSVRC2012_img_train.tar``, an archive of one archive for each class. Test is
the official validation split, since the labels of the official test split are not public: ``val/n01440764/*.JPEG``,
``val/ILSVRC2012_val_00000001.JPEG`` or ``ILSVRC2012_img_val.tar``, where all but the first need the development kit.
Validation is cut from train. Archives are read in place; a folder comes before an archive.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent
from protoquant.data.archive import contents
from protoquant.data.complete import few
from protoquant.data.config import PrepareConfig
from protoquant.data.folder_walk import files_below, subfolders
from protoquant.data.images import is_image_name
from protoquant.data.official.imagenet_devkit import FOLDER, PACKED, ImagenetDevkit, read_devkit
from protoquant.data.official.published_set import FoundImages, PublishedSet, list_whole, rows_of
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SplitName

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
PUBLISHED = PublishedSet(
    "ImageNet-1k",
    "get it whole from https://image-net.org/download-images.php",
    classes=1_000,
    images={"train": 1_281_167, "test": 50_000},
    each={"test": 50},
)
_WNID = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_Place = tuple[str, str]


def read(root: Path, *, config: PrepareConfig, on_event: OnEvent, **_: object) -> Listing:
    """List the photos; the title of a class is known where the development kit is there.

    Args:
        root: The folder.
        config: ``partial``.
        on_event: With ``partial``, receives a message with the counts.

    Returns:
        The images; the path of one in an archive is that of the archive followed by its name in it.

    Raises:
        DataError: A split or the kit is missing, an archive is damaged, a folder is no wnid, or counts are not the
            published ones.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"prepare.root must be the folder of {PUBLISHED.title}; {root} {found} (params.yaml); correct it"
        )
    _check_splits(root, partial=config.partial)
    devkit = read_devkit(root)
    rows: list[tuple[str, str, SplitName]] = [(path, wnid, "train") for path, wnid in _train(root)]
    rows += [(path, wnid, "test") for path, wnid in _val(root, devkit)]
    classes = tuple(sorted({wnid for _, wnid, _ in rows}))
    titles = {wnid: devkit.titles[wnid] for wnid in classes if wnid in devkit.titles} if devkit else {}
    counts: dict[SplitName, dict[str, int]] = {"train": dict(devkit.train)} if devkit else {}
    return list_whole(
        root,
        FoundImages(rows_of(rows), classes, titles, counts),
        PUBLISHED,
        look=False,
        partial=config.partial,
        on_event=on_event,
    )


def _check_splits(root: Path, *, partial: bool) -> None:
    for folder, archive in (("train", TRAIN), ("val", VAL)):
        if partial or (root / folder).is_dir() or (root / archive).is_file():
            continue
        inner = next((one for one in subfolders(root) if (one / folder).is_dir() or (one / archive).is_file()), None)
        hint = f"set prepare.root to {inner} (params.yaml)" if inner else PUBLISHED.mend
        raise DataError(f"{root} lacks {folder}/ or {archive} of {PUBLISHED.title}; {hint}")


def _train(root: Path) -> Iterator[_Place]:
    """The train images and their wnids."""
    if (root / "train").is_dir():
        yield from _of_folders(root, root / "train")
    elif (root / TRAIN).is_file():
        for name in sorted(contents(root / TRAIN).files):
            wnid = name.removesuffix(".tar")
            if wnid == name or not _WNID.fullmatch(wnid):
                raise DataError(f"{root / TRAIN} holds {name}, expected an archive for each wnid; {PUBLISHED.where}")
            yield from ((f"{TRAIN}/{name}/{one}", wnid) for one in sorted(contents(root / TRAIN / name).files))


def _val(root: Path, devkit: ImagenetDevkit | None) -> Iterator[_Place]:
    """The images of the official validation split and their wnids."""
    folder = root / "val"
    if folder.is_dir() and subfolders(folder):
        yield from _of_folders(root, folder)
    elif folder.is_dir():
        names = sorted(file.name for file in files_below(folder) if is_image_name(file.name))
        yield from _by_number(root, "val", names, devkit)
    elif (root / VAL).is_file():
        yield from _by_number(root, VAL, sorted(contents(root / VAL).files), devkit)


def _of_folders(root: Path, place: Path) -> Iterator[_Place]:
    """The images of folders that are named by wnids."""
    folders = subfolders(place)
    if strange := [folder.name for folder in folders if not _WNID.fullmatch(folder.name)]:
        found = few(strange, "folder", "folders")
        raise DataError(f"{place} holds {found} not named by a wnid such as n01440764; rename or remove them")
    for folder in folders:
        names = sorted(file.relative_to(root).as_posix() for file in files_below(folder) if is_image_name(file.name))
        yield from ((name, folder.name) for name in names)


def _by_number(root: Path, place: str, names: list[str], devkit: ImagenetDevkit | None) -> Iterator[_Place]:
    """The images whose names bear numbers, with the wnids that the kit gives these."""
    if devkit is None:
        raise DataError(
            f"{root / place} has no class folders, so its labels are read from {PACKED} or {FOLDER}/, which {root} "
            f"lacks; {PUBLISHED.where}"
        )
    for name in names:
        match = _NUMBER.fullmatch(name.rpartition("/")[2])
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(devkit.truth):
            raise DataError(
                f"{root / place} holds {name}, expected ILSVRC2012_val_00000001.JPEG to "
                f"{len(devkit.truth):08d}; {PUBLISHED.where}"
            )
        yield f"{place}/{name}", devkit.truth[number - 1]
