"""Oxford Flowers-102 as it is published: photos of 102 kinds of flowers, which have numbers and no official names.

The root holds ``imagelabels.mat``, ``setid.mat`` and the images ``jpg/image_00001.jpg``. Train is ``trnid``, validation
``valid`` and test ``tstid``, the largest of the three.

Source: Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes", 2008.
"""

from collections import Counter
from pathlib import Path

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent
from protoquant.data.complete import few, require_files
from protoquant.data.config import PrepareConfig
from protoquant.data.official.mat import numbers, read_mat
from protoquant.data.official.published_set import FoundImages, PublishedSet, list_whole, rows_of
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SplitName

LABELS, SPLITS = "imagelabels.mat", "setid.mat"
PUBLISHED = PublishedSet(
    "Oxford Flowers-102",
    "get it whole from https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    classes=102,
    images={"train": 1020, "validation": 1020, "test": 6149},
    each={"train": 10, "validation": 10},
)
_VARIABLES: dict[SplitName, str] = {"train": "trnid", "validation": "valid", "test": "tstid"}


def read(root: Path, *, config: PrepareConfig, on_event: OnEvent, **_: object) -> Listing:
    """List the photos; a class is named by its number.

    Args:
        root: The folder.
        config: ``partial``.
        on_event: With ``partial``, receives a message with the counts.

    Returns:
        The images.

    Raises:
        DataError: A file is missing, files contradict each other, or counts are not the published ones.
    """
    require_files(root, [LABELS, SPLITS], PUBLISHED.title, PUBLISHED.where)
    (held,) = read_mat(root / LABELS, "labels")
    labels = dict(enumerate(numbers(held, root / LABELS), start=1))
    splits = _splits(root / SPLITS)
    if strange := sorted(set(splits) - set(labels)):
        found = few([str(number) for number in strange], "image", "images")
        raise DataError(f"{root / SPLITS} names {found} without a label in {LABELS}; {PUBLISHED.where}")
    frame = rows_of([(f"jpg/image_{number:05d}.jpg", str(labels[number]), split) for number, split in splits.items()])
    classes = tuple(str(number) for number in sorted({labels[number] for number in splits}))
    found_images = FoundImages(frame, classes)
    return list_whole(root, found_images, PUBLISHED, look=True, partial=config.partial, on_event=on_event)


def _splits(file: Path) -> dict[int, SplitName]:
    """The split of each image, by its number."""
    held = dict(zip(_VARIABLES, read_mat(file, *_VARIABLES.values()), strict=True))
    given = [(number, split) for split, values in held.items() for number in numbers(values, file)]
    counts = Counter(number for number, _ in given)
    if twice := [str(number) for number, count in sorted(counts.items()) if count > 1]:
        raise DataError(f"{file} names {few(twice, 'image', 'images')} more than once; {PUBLISHED.where}")
    return dict(sorted(given))
