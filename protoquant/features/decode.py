"""Decodes images ahead of the backbone in worker threads, in order and with a bounded number in flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from protoquant.core.artifacts import digest_bytes
from protoquant.core.errors import DataError
from protoquant.core.machine.prefetch import ahead
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.table import ImageTable
from protoquant.features.augment import View
from protoquant.features.backbone.backbone import Backbone


@dataclass(frozen=True)
class Source:
    """An image as the table names it: id, file, digest of the file's bytes, class."""

    image_id: str
    path: Path
    digest: str
    label: int


def sources_of(table: ImageTable) -> list[Source]:
    """The images of a table, in the order of their ids."""
    frame = table.frame.sort_values("image_id")
    rows = zip(frame["image_id"], frame["digest"], frame["label"], strict=True)
    return [Source(image_id, table.path(image_id), digest, int(label)) for image_id, digest, label in rows]


def decode(source: Source, backbone: Backbone, view: View | None = None) -> UInt8[Tensor, "h w 3"]:
    """Read, check, decode and transform one image.

    Args:
        source: The image.
        backbone: The backbone whose preprocessing applies.
        view: The augmentation; None for the plain image.

    Raises:
        DataError: The file is missing, cannot be decoded, or is not the one that prepare saw.
    """
    data = read_bytes(source.path, source.image_id)
    if digest_bytes(data) != source.digest:
        raise DataError(f"{source.image_id} changed since prepare: its digest differs ({source.path}); run prepare")
    preprocessing = backbone.spec.preprocessing
    at_least = preprocessing.at_least if view is None else view.at_least(preprocessing)
    image = decode_image(data, name=source.image_id, at_least=at_least)
    if view is None:
        return backbone.transform(image)
    return torch.from_numpy(np.array(view.apply(image, source.digest, preprocessing)))


def batches(
    sources: Sequence[Source], backbone: Backbone, *, batch: int, pool: ThreadPoolExecutor, view: View | None = None
) -> Iterator[tuple[int, UInt8[Tensor, "n h w 3"]]]:
    """Decode images batch by batch, at most two batches ahead of the consumer.

    The last batch is filled up with black images, so that every batch has one shape and rounding does not depend on
    how many images there are.

    Args:
        sources: Images in order.
        backbone: The backbone whose preprocessing applies.
        batch: Images in a batch.
        pool: The worker threads.
        view: The augmentation; None for the plain images.

    Yields:
        The number of real images in the batch, and the batch.

    Raises:
        DataError: As in ``decode``; images in flight are dropped.
    """
    decoded = ahead(lambda source: decode(source, backbone, view), sources, pool, 2 * batch)
    try:
        for start in range(0, len(sources), batch):
            real = list(islice(decoded, min(batch, len(sources) - start)))
            blank = [torch.zeros_like(real[0])] * (batch - len(real))
            yield len(real), torch.stack(real + blank)
    finally:
        decoded.close()
