"""Photos as the doctor keeps them, made by hand: only what a test is about is given."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from protoquant.doctor.perceptual_hash import SIDE, perceptual_hash
from protoquant.doctor.photo import Photo
from tests.builders.pictures import picture

USUAL: Mapping[str, Any] = {
    "class_name": "ant",
    "split": "train",
    "width": 300,
    "height": 300,
    "size": 9_000,
    "format": "JPEG",
    "mode": "colour",
    "camera": None,
    "taken": None,
}


def thumb_of(seed: int) -> np.ndarray:
    """A thumbnail of its own for each seed."""
    return np.asarray(picture(seed, SIDE, SIDE))


def photo(path: str, **given: Any) -> Photo:
    """A photo; its thumbnail, and what follows from that, are its own unless given."""
    thumb = given.pop("thumb", None)
    thumb = thumb_of(sum(map(ord, path)) + 7919 * len(path)) if thumb is None else thumb
    if "hash" not in given:
        given["hash"] = perceptual_hash(thumb)
    values = {"sha256": path.rjust(64, "0"), "pixels": path.encode(), **USUAL, **given}
    return Photo(path=path, thumb=thumb, **values)
