"""The pictures of a diff page: training patches from the bundles, and images whose answer changed."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from protoquant.core.errors import DataError
from protoquant.data.images import open_image
from protoquant.explain.album import Rect, see
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.model.bundle import Bundle
from protoquant.pages.pictures import webp_uri

SIDE = 128
"""Longer side of a picture, in pixels."""
_QUALITY = 75


@dataclass(frozen=True)
class DiffPicture:
    """A picture within the page.

    Attributes:
        uri: The picture as a ``data:`` URI.
        width: Width in pixels.
        height: Height in pixels.
        box: The patch within its surroundings; None where it is not known.
    """

    uri: str
    width: int
    height: int
    box: Rect | None = None


def patch_pictures(bundle: Bundle, code: int, most: int) -> tuple[DiffPicture, ...]:
    """The nearest training patches of a prototype, nearest first; none where the bundle was written without them.

    Args:
        bundle: The model.
        code: Code of the prototype.
        most: Maximum number of patches.
    """
    context = bundle.params.get("train", {}).get("crop_context")
    found = []
    for rank in range(most):
        file = bundle.crop(code, rank)
        image = None if file is None else _opened(file)
        if image is None:
            continue
        image.thumbnail((SIDE, SIDE))
        box = None if context is None else _middle(*image.size, 1.0 / (1.0 + 2.0 * float(context)))
        found.append(DiffPicture(webp_uri(image, _QUALITY), *image.size, box))
    return tuple(found)


def image_picture(folder: Path | None, image_id: str, preprocessing: Preprocessing) -> DiffPicture | None:
    """The backbone's view of an image; None where its file is missing or cannot be read.

    Args:
        folder: Folder that image ids are relative to; None: no picture.
        image_id: Relative POSIX path.
        preprocessing: The backbone's preprocessing.
    """
    if folder is None:
        return None
    file = (folder / image_id).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    image = _opened(file, max(preprocessing.at_least, 2 * SIDE))
    if image is None:
        return None
    view = see(image, preprocessing, SIDE)
    return DiffPicture(webp_uri(view, _QUALITY), *view.size)


def _opened(file: Path, at_least: int | None = None) -> Image.Image | None:
    """Open a picture; None if it cannot be read, because the page is useful without it."""
    try:
        return open_image(file, at_least=at_least)
    except (DataError, OSError):
        return None


def _middle(width: int, height: int, share: float) -> Rect:
    across, down = width * share, height * share
    return Rect(round((width - across) / 2, 2), round((height - down) / 2, 2), round(across, 2), round(down, 2))
