"""Pictures of the prototypes that moved: the training patch, and the new patch most like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from protoquant.analysis.drift.account import DriftAnalysis
from protoquant.analysis.drift.measure import TopImage
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.quarantine import ImageError
from protoquant.model.bundle import Bundle
from protoquant.model.provenance import cut_patch
from protoquant.pages.pictures import data_uri, webp_uri

SHOWN = 60
"""Maximum number of prototypes with pictures, those that moved most; the table has all of them."""
_CONTEXT, _SIZE, _QUALITY = 1.0, 96, 82


@dataclass(frozen=True)
class PicturePair:
    """Pictures of one prototype as ``data:`` URIs; None where a file is missing."""

    train: str | None
    now: str | None


def pictures(bundle: Bundle, account: DriftAnalysis, root: Path) -> dict[int, PicturePair]:
    """The pictures of the prototypes that moved most, by code.

    Args:
        bundle: The bundle, which holds the training patches.
        account: The drift analysis.
        root: The folder of the new images.
    """
    order = [part.prototype for part in account.parts]
    found = {}
    for part in account.moved[:SHOWN]:
        crop = bundle.crop(part.prototype, 0)
        nearest = account.measured.nearest[order.index(part.prototype)]
        train = None if crop is None else data_uri(crop.read_bytes(), "png")
        found[part.prototype] = PicturePair(train, _patch(bundle, nearest, root))
    return found


def _patch(bundle: Bundle, nearest: TopImage, root: Path) -> str | None:
    """The new patch; None if the image can no longer be read."""
    preprocessing = bundle.backbone.preprocessing
    try:
        data = read_bytes(root / nearest.image, nearest.image)
        image: Image.Image = decode_image(data, name=nearest.image, at_least=2 * preprocessing.at_least)
    except ImageError:
        return None
    patch = cut_patch(image, nearest.cell, bundle.grid, preprocessing=preprocessing, context=_CONTEXT, size=_SIZE)
    return webp_uri(patch, _QUALITY)
