"""Reading a folder of new images ahead of a trained model, with bad images reported rather than fatal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from protoquant.core.errors import DataError, UsageError, one_line
from protoquant.core.events import MessageEvent, OnEvent, ignore
from protoquant.core.machine.prefetch import ahead
from protoquant.data.folder_walk import files_below, writable
from protoquant.data.images import decode_sized, is_image_name, read_bytes
from protoquant.data.quarantine import ImageError, Reason
from protoquant.features.backbone.backbone import Backbone


@dataclass(frozen=True)
class FolderListing:
    """The files of a folder.

    Attributes:
        names: Relative POSIX paths of the files that are named like images, sorted.
        passed_over: Number of visible files that are not named like images.
    """

    names: tuple[str, ...]
    passed_over: int


@dataclass(frozen=True)
class Opened:
    """An image as the backbone sees it: name, pixels (h, w, 3), (width, height) of the whole image in the file."""

    name: str
    pixels: UInt8[Tensor, "h w 3"]
    size: tuple[int, int]


@dataclass(frozen=True)
class Bad:
    """An image that cannot be used: its name, the kind of fault, and what was found in one line."""

    name: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def find_images(root: Path, on_event: OnEvent = ignore) -> FolderListing:
    """List the images below a folder, however deep.

    Hidden files and folders, and those that operating systems leave behind, are skipped and not counted; links are
    followed, each folder once.

    Args:
        root: The folder.
        on_event: Receives a message with the number of files passed over, if there are any.

    Raises:
        UsageError: It is not a folder. DataError: A folder in it cannot be opened, or no file is named like an image.
    """
    if not root.is_dir():
        raise UsageError(f"{root} {'is no folder' if root.exists() else 'is missing'}; give a folder of images")
    names: list[str] = []
    passed_over = 0
    for path in files_below(root, on_error=_refuse):
        if is_image_name(path.name):
            names.append(path.relative_to(root).as_posix())
        else:
            passed_over += 1
    if not names:
        raise DataError(f"{root} holds no image ({passed_over:,} other files); give a folder of images")
    if passed_over:
        on_event(MessageEvent(f"passed over, not named like images: {passed_over:,} files"))
    return FolderListing(tuple(sorted(names)), passed_over)


def open_new(root: Path, name: str, backbone: Backbone) -> Opened | Bad:
    """Read, decode and transform one image, or report why that is impossible.

    Args:
        root: The folder.
        name: Path of the image, relative to it.
        backbone: The backbone that the image is transformed for.
    """
    if writable(name) != name:
        return Bad(writable(name), Reason.BAD_NAME.value, "has a name that is not UTF-8; rename it")
    try:
        data = read_bytes(root / name, name)
        image, size = decode_sized(data, name=name, at_least=backbone.spec.preprocessing.at_least)
        return Opened(name, backbone.transform(image), size)
    except ImageError as error:
        return Bad(name, error.reason.value, one_line(error.detail))
    except (MemoryError, OSError, ValueError) as error:
        said = one_line(error) or type(error).__name__
        return Bad(name, Reason.UNDECODABLE.value, f"cannot be scaled ({said}); replace or remove it")


@contextmanager
def opened_ahead(
    root: Path, names: Iterable[str], backbone: Backbone, *, workers: int, depth: int
) -> Iterator[Iterator[Opened | Bad]]:
    """Open images in threads ahead of the consumer, in order; at most ``depth`` are held.

    Args:
        root: The folder.
        names: Paths of the images, relative to it.
        backbone: The backbone that the images are transformed for.
        workers: Threads, at least 1.
        depth: Images in flight, at least 1.

    Yields:
        The images; those in flight are dropped when the block ends.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="open")
    try:
        yield ahead(partial(open_new, root, backbone=backbone), names, pool, depth)
    finally:
        pool.shutdown(cancel_futures=True)


def stacked(images: Sequence[Opened]) -> UInt8[Tensor, "n h w 3"]:
    """The pixels of several images, at least one."""
    return torch.stack([image.pixels for image in images])


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be opened ({error.strerror}); check its permissions") from error
