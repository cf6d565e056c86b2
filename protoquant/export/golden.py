"""Golden images: the fixed images on which an exported model is compared with its origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from PIL import Image

from protoquant.core.seeding import numpy_generator
from protoquant.data.images import open_image
from protoquant.data.pixels import to_rgb
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.model.bundle import CROPS, Bundle

_PATCHES, _EACH = 4, 2


@dataclass(frozen=True)
class Golden:
    """Images of one size.

    Attributes:
        name: Names of the pictures, and their size, such as ``noise, 17 x 23 pixels``.
        images: uint8 (n, height, width, 3).
    """

    name: str
    images: np.ndarray


def golden_images(bundle: Bundle) -> list[Golden]:
    """Make pictures of every kind of size that a resize treats differently: smaller, equal, larger, tall and wide.

    Args:
        bundle: If the bundle holds pictures of training patches, some of them are included.

    Returns:
        Single images, then one batch of several of one size.
    """
    kinds = _kinds(bundle)
    names = cycle(kinds)
    golden = [
        Golden(f"{name}, {height} x {width} pixels", _resized(kinds[name], height, width)[None])
        for height, width in _sizes(bundle.backbone.preprocessing)
        for name in islice(names, _EACH)
    ]
    height, width = natural_size(bundle.backbone.preprocessing)
    together = np.stack([_resized(picture, height, width) for picture in kinds.values()])
    return [*golden, Golden(f"{', '.join(kinds)} together, {height} x {width} pixels", together)]


def natural_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) of an image as from a camera, whose short side is 1.5 times ``at_least``."""
    side = preprocessing.at_least
    return side * 3 // 2, side * 2


def _sizes(preprocessing: Preprocessing) -> Iterator[tuple[int, int]]:
    side = preprocessing.at_least
    yield 17, 23
    yield 1, 1
    yield preprocessing.crop
    yield preprocessing.resize
    yield natural_size(preprocessing)
    yield side * 2, side * 3 // 2
    yield side * 5 // 2, side  # Pillow filters the columns first
    yield side, side * 3


def _kinds(bundle: Bundle) -> dict[str, np.ndarray]:
    """Pictures by name, of any size."""
    folder = None if bundle.path is None else bundle.path / CROPS
    files = sorted(folder.glob("*.png"))[:: max(1, len(bundle.prototypes))] if folder is not None else []
    patches = {f"patch {file.stem}": np.asarray(to_rgb(open_image(file))) for file in files[:_PATCHES]}
    across, down = np.meshgrid(np.arange(256), np.arange(256))
    squares = ((across // 16 + down // 16) % 2 * 255).astype(np.uint8)
    noise = numpy_generator(0, "golden images").integers(0, 256, (256, 256, 3), dtype=np.uint8)
    gradient = np.stack([across, down, (across + down) // 2], axis=-1).astype(np.uint8)
    return {**patches, "gradient": gradient, "noise": noise, "checkerboard": np.stack([squares] * 3, axis=-1)}


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))
