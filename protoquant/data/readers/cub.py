"""CUB-200-2011 as it is published: photos of 200 kinds of birds, with boxes and 15 points.

The root is the folder that holds ``images.txt``. The split is the official one; validation is cut from train. With
``crop``, each photo is cut to the box of its bird, and the points move with it.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pandas as pd

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.core.machine.prefetch import ahead
from protoquant.data.config import PrepareConfig
from protoquant.data.images import open_image
from protoquant.data.parts.cub import BOXES, Box, CubFiles, read_cub
from protoquant.data.parts.listing import POINTS, PartListing
from protoquant.data.parts.schema import PartSchema, mirrored_by_name
from protoquant.data.quarantine import ImageError, Rejected
from protoquant.data.readers.listing import Listing

_Corners = tuple[int, int, int, int]


def read(root: Path, *, into: Path, config: PrepareConfig, workers: int, on_event: OnEvent) -> Listing:
    """List the photos with their points; only visible points count.

    Args:
        root: The folder.
        into: With ``crop``, the folder of the crops, PNG files ``SPLIT/CLASS/NAME.png``.
        config: ``crop``.
        workers: Threads that crop.
        on_event: Receives the progress of cropping and a message about it.

    Returns:
        The images; with ``crop``, a photo that cannot be decoded is among the rejected.

    Raises:
        DataError: A file or an image is missing, files contradict each other (see ``read_cub``), or a box lies outside
            of its photo.
    """
    files = read_cub(root)
    if not config.crop:
        return _listing(files, files.paths, files.points, root)
    corners: dict[int, _Corners] = {}
    rejected: list[Rejected] = []
    with ThreadPoolExecutor(workers) as pool:
        made = ahead(lambda number: _crop(root, into, files, number), files.paths, pool, 4 * workers)
        for number, one in zip(files.paths, track(made, "crop", len(files.paths), "images", on_event), strict=True):
            if isinstance(one, Rejected):
                rejected.append(one)
            else:
                corners[number] = one
    points, lost = _moved(files.points, corners)
    said = f"{lost:,} of {len(files.points):,} points lie outside of theirs"
    on_event(MessageEvent(f"photos are cropped to the box of their bird (prepare.crop); {said}"))
    return _listing(files, {number: _crop_name(files, number) for number in corners}, points, into, rejected)


def _listing(
    files: CubFiles, names: Mapping[int, str], points: pd.DataFrame, folder: Path, rejected: Sequence[Rejected] = ()
) -> Listing:
    """The listing of images by number, with their points."""
    frame = pd.DataFrame(
        {
            "path": list(names.values()),
            "class_name": [files.classes[files.labels[number]] for number in names],
            "split": [_split(files, number) for number in names],
        }
    )
    schema = PartSchema("points", files.parts, mirrored=mirrored_by_name(files.parts))
    named = points.assign(image_id=points["image"].map(names))[list(POINTS)]
    parts = PartListing(schema, list(names.values()), named)
    return Listing(frame, folder, tuple(files.classes.values()), tuple(rejected), parts, official=True)


def _split(files: CubFiles, number: int) -> str:
    return "train" if files.train[number] else "test"


def _crop_name(files: CubFiles, number: int) -> str:
    """The file of a crop: like the photo's, below the folder of its split."""
    return f"{_split(files, number)}/{PurePosixPath(files.paths[number]).relative_to('images').with_suffix('.png')}"


def _crop(root: Path, into: Path, files: CubFiles, number: int) -> _Corners | Rejected:
    """Write the crop of a photo, without loss."""
    name = files.paths[number]
    try:
        photo = open_image(root / name)
    except ImageError as error:
        return Rejected(name, error.reason, error.detail)
    corners = _corners(files.boxes[number], photo.size)
    if corners is None:
        raise DataError(
            f"{root / BOXES}: the box of image {number} lies outside of its {photo.width} x {photo.height} pixels "
            f"({name}); copy the whole data set again"
        )
    file = into / _crop_name(files, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    photo.crop(corners).save(file)
    return corners


def _corners(box: Box, size: tuple[int, int]) -> _Corners | None:
    """Left, top, right and bottom of a box in whole pixels, within the photo; None if nothing is left."""
    left, top, width, height = (int(value) for value in box)
    found = max(left, 0), max(top, 0), min(left + width, size[0]), min(top + height, size[1])
    return found if found[0] < found[2] and found[1] < found[3] else None


def _moved(points: pd.DataFrame, corners: Mapping[int, _Corners]) -> tuple[pd.DataFrame, int]:
    """The points in pixels of the crops, and how many lie outside; those of photos without a crop are dropped."""
    own = points[points["image"].isin(list(corners))]
    left, top, right, bottom = (
        own["image"].map({number: one[side] for number, one in corners.items()}) for side in range(4)
    )
    inside = own["x"].between(left, right) & own["y"].between(top, bottom)
    moved = own.assign(x=own["x"] - left, y=own["y"] - top)[inside]
    return moved, len(own) - len(moved)
