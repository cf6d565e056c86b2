"""Stanford Dogs-120 as it is published: photos of 120 breeds of dogs, taken from ImageNet.

The root holds the images ``Images/n02085620-Chihuahua/n02085620_10074.jpg``, and ``train_list.mat`` and
``test_list.mat``, at its top or in ``lists/``. A class is named by its folder; validation is cut from train.

Source: Khosla et al., "Novel Dataset for Fine-Grained Image Categorization", 2011.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent
from protoquant.data.complete import require_files
from protoquant.data.config import PrepareConfig
from protoquant.data.official.mat import numbers, read_mat, texts
from protoquant.data.official.published_set import FoundImages, PublishedSet, list_whole, rows_of
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SplitName

IMAGES, LISTS = "Images", "lists"
PUBLISHED = PublishedSet(
    "Stanford Dogs-120",
    "get it whole from http://vision.stanford.edu/aditya86/ImageNetDogs/",
    classes=120,
    images={"train": 12_000, "test": 8_580},
    each={"train": 100},
)
_FILES: dict[SplitName, str] = {"train": "train_list.mat", "test": "test_list.mat"}


def read(root: Path, *, config: PrepareConfig, on_event: OnEvent, **_: object) -> Listing:
    """List the photos; a class is named by its folder, and its title is the breed.

    Args:
        root: The folder.
        config: ``partial``.
        on_event: With ``partial``, receives a message with the counts.

    Returns:
        The images.

    Raises:
        DataError: A file is missing, files contradict each other, or counts are not the published ones.
    """
    inner = "" if (root / _FILES["train"]).is_file() or not (root / LISTS).is_dir() else f"{LISTS}/"
    require_files(root, [inner + name for name in _FILES.values()], PUBLISHED.title, PUBLISHED.where)
    listed = {split: _list(root / inner / name) for split, name in _FILES.items()}
    folders = _folders(root / inner, [one for held in listed.values() for one in held])
    rows = [(f"{IMAGES}/{path}", folders[label], split) for split, held in listed.items() for path, label in held]
    classes = tuple(folders.values())
    found = FoundImages(rows_of(rows), classes, {name: _title(name) for name in classes})
    return list_whole(root, found, PUBLISHED, look=True, partial=config.partial, on_event=on_event)


def _folders(place: Path, listed: Sequence[tuple[str, int]]) -> dict[int, str]:
    """The folder of each class by its number, in the order of the numbers."""
    pairs = sorted({(label, path.partition("/")[0]) for path, label in listed})
    for one, other in combinations(pairs, 2):
        if one[0] == other[0] or one[1] == other[1]:
            raise DataError(
                f"{place}: class {one[0]} is {one[1]!r} and class {other[0]} is {other[1]!r}; take the lists and the "
                f"images from one copy of {PUBLISHED.title}"
            )
    return dict(pairs)


def _list(file: Path) -> list[tuple[str, int]]:
    """The images of a split, ``FOLDER/NAME.jpg``, with the numbers of their classes."""
    paths, labels = read_mat(file, "file_list", "labels")
    if len(paths) != len(labels):
        raise DataError(f"{file} names {len(paths):,} images and {len(labels):,} labels; {PUBLISHED.where}")
    return list(zip(texts(paths, file), numbers(labels, file), strict=True))


def _title(folder: str) -> str:
    """The breed: ``n02085936-Maltese_dog`` is the Maltese dog."""
    return folder.partition("-")[2].replace("_", " ") or folder
