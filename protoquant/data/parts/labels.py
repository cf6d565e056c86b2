"""Masks of parts as one small picture: each pixel holds the number of what is there.

0 is the background; parts count from 1, in the order of the schema, then the body.
"""

import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image


def label_masks(masks: Iterable[Bool[np.ndarray, "h w"]]) -> UInt8[np.ndarray, "h w"]:
    """Number the pixels of masks that do not overlap: those of the first mask get 1, of the second 2, others 0.

    Args:
        masks: At least one and at most 255, of one size.
    """
    held = np.stack(list(masks))
    numbers = np.arange(1, len(held) + 1, dtype=np.uint8)
    labels: UInt8[np.ndarray, "h w"] = (held * numbers[:, None, None]).max(axis=0)
    return labels


def pack_labels(labels: UInt8[np.ndarray, "h w"]) -> bytes:
    """Write labels as the bytes of a grey PNG file."""
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()


def unpack_labels(data: bytes) -> UInt8[np.ndarray, "h w"]:
    """Read what ``pack_labels`` wrote."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image)
