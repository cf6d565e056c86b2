"""Opens every image once, and finds duplicates that must not be kept together."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from protoquant.core.artifacts import digest_bytes
from protoquant.core.machine.prefetch import ahead
from protoquant.data.images import decode_image, misnamed, read_bytes
from protoquant.data.quarantine import ImageError, Reason, Rejected
from protoquant.data.splits import SplitName

T = TypeVar("T")

_KEEPING_ORDER = ("test", "validation", "train")


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image as the reader lists it; ``split`` is None if the data has no splits."""

    image_id: str
    class_name: str
    split: SplitName | None


@dataclass(frozen=True, slots=True)
class Checked:
    """An image that decodes.

    Attributes:
        entry: The image as the reader lists it.
        digest: SHA-256 of the file.
        pixels: Digest of the decoded, upright RGB pixels and their shape.
        width: Width in pixels after EXIF rotation.
        height: Height in pixels after EXIF rotation.
        misnamed: Its format, where the name says another.
    """

    entry: ImageEntry
    digest: str
    pixels: bytes
    width: int
    height: int
    misnamed: str | None = None


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image that decodes, with its bytes and its upright RGB pixels."""

    checked: Checked
    data: bytes
    image: Image.Image


def check_image(entry: ImageEntry, root: Path, min_side: int) -> Checked | Rejected:
    """Read and decode one image in full.

    Args:
        entry: The image.
        root: The folder that its id is relative to.
        min_side: Least number of pixels of its shorter side.
    """
    opened = _open(entry, root, min_side)
    return opened if isinstance(opened, Rejected) else opened.checked


def check_images(
    entries: Iterable[ImageEntry], root: Path, min_side: int, workers: int, *, keep_tests: bool = False
) -> Iterator[Checked | Rejected]:
    """Check images in parallel threads, as :func:`open_images` opens them."""
    return open_images(_checked, entries, root, min_side, workers, keep_tests=keep_tests)


def open_images(
    look: Callable[[OpenedImage], T],
    entries: Iterable[ImageEntry],
    root: Path,
    min_side: int,
    workers: int,
    *,
    keep_tests: bool = False,
) -> Iterator[T | Rejected]:
    """Open images in parallel threads; the results come in the order given, whatever the number of threads.

    Args:
        look: Called in a thread with each image that can be used; its result takes the image's place.
        entries: The images.
        root: The folder that their ids are relative to.
        min_side: Least number of pixels of a shorter side.
        workers: Number of threads.
        keep_tests: Whether test images may be smaller.
    """

    def one(entry: ImageEntry) -> T | Rejected:
        opened = _open(entry, root, 1 if keep_tests and entry.split == "test" else min_side)
        return opened if isinstance(opened, Rejected) else look(opened)

    with ThreadPoolExecutor(workers) as pool:
        yield from ahead(one, entries, pool, 4 * workers)


def _checked(opened: OpenedImage) -> Checked:
    return opened.checked


def _open(entry: ImageEntry, root: Path, min_side: int) -> OpenedImage | Rejected:
    name = entry.image_id
    try:
        data = read_bytes(root / name, name)
        image = decode_image(data, name=name)
    except ImageError as error:
        return Rejected(name, error.reason, error.detail)
    width, height = image.size
    if min(width, height) < min_side:
        detail = f"has {width} x {height} pixels; prepare.min_side is {min_side}"
        return Rejected(name, Reason.TOO_SMALL, detail)
    pixels = hashlib.blake2b(f"{width} {height} ".encode(), digest_size=16)
    pixels.update(image.tobytes())
    checked = Checked(entry, digest_bytes(data), pixels.digest(), width, height, misnamed(data, name))
    return OpenedImage(checked, data, image)


def set_apart(images: Iterable[Checked], *, keep_tests: bool = False) -> tuple[list[Checked], list[Rejected]]:
    """Leave out images that have the same pixels as another image.

    Within a split (or within the data, if there are no splits), the copy with the smallest id stays if all copies have
    one label; if they have several, none stays. Of the remaining copies in different splits, only one stays: test comes
    before validation, and validation before train. A copy that leaves for one of another label is a label conflict too.

    Args:
        images: Images that decode, in any order.
        keep_tests: Whether each test image stays, whatever its copies; copies in other splits then leave.

    Returns:
        The images that stay, sorted by id, and the others.
    """
    alike: dict[bytes, list[Checked]] = defaultdict(list)
    for image in sorted(images, key=lambda image: image.entry.image_id):
        alike[image.pixels].append(image)
    kept: list[Checked] = []
    rejected: list[Rejected] = []
    for copies in alike.values():
        tests = [copy for copy in copies if keep_tests and copy.entry.split == "test"]
        stay, leave = (copies, []) if len(copies) == 1 else _around(tests, copies) if tests else _choose(copies)
        kept += stay
        rejected += leave
    return sorted(kept, key=lambda image: image.entry.image_id), rejected


def _around(tests: list[Checked], copies: list[Checked]) -> tuple[list[Checked], list[Rejected]]:
    """Keep all of the test images with equal pixels, and leave out the copies in other splits."""
    rejected: list[Rejected] = []
    for entry in (copy.entry for copy in copies if copy not in tests):
        same = next((test.entry for test in tests if test.entry.class_name == entry.class_name), None)
        if same is None:
            rejected.append(_conflict(entry, [test.entry for test in tests]))
        else:
            rejected.append(_leak(entry, same))
    return tests, rejected


def _choose(copies: list[Checked]) -> tuple[list[Checked], list[Rejected]]:
    """Choose which of several images with equal pixels, sorted by id, stays, if any."""
    by_split: dict[str | None, list[ImageEntry]] = defaultdict(list)
    for copy in copies:
        by_split[copy.entry.split].append(copy.entry)
    rejected: list[Rejected] = []
    firsts: dict[str | None, ImageEntry] = {}
    for split, entries in by_split.items():
        first = entries[0]
        if any(entry.class_name != first.class_name for entry in entries):
            rejected += [_conflict(entry, entries) for entry in entries]
            continue
        firsts[split] = first
        detail = f"has the pixels of {first.image_id}; the first by name stays"
        rejected += [Rejected(entry.image_id, Reason.DUPLICATE, detail) for entry in entries[1:]]
    winner = next((firsts[split] for split in (*_KEEPING_ORDER, None) if split in firsts), None)
    for entry in firsts.values():
        if winner is None or entry is winner:
            continue
        if entry.class_name != winner.class_name:
            rejected.append(_conflict(entry, [winner]))
            continue
        rejected.append(_leak(entry, winner))
    return [copy for copy in copies if copy.entry is winner], rejected


def _leak(entry: ImageEntry, stays: ImageEntry) -> Rejected:
    detail = f"is in {entry.split} and has the pixels of {stays.image_id} in {stays.split}, which stays"
    return Rejected(entry.image_id, Reason.LEAK, detail)


def _conflict(entry: ImageEntry, entries: list[ImageEntry]) -> Rejected:
    other = next(other for other in entries if other.class_name != entry.class_name)
    detail = f"is {entry.class_name!r} and has the pixels of {other.image_id}, which is {other.class_name!r}"
    return Rejected(entry.image_id, Reason.CONFLICTING_LABELS, f"{detail}; keep one")
