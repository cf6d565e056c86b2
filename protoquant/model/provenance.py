"""The training patches nearest to each prototype, and pictures of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from protoquant.codebook.mixture import Mixture
from protoquant.codebook.nearest_images import NearestImages
from protoquant.core.events import OnEvent, ProgressEvent
from protoquant.data.table import ImageTable
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.store.store import FeatureStore

if TYPE_CHECKING:
    import pandas as pd

RANKS = 8
"""Training patches named for each prototype, of distinct images."""

_BEYOND = (236, 236, 236)  # fill beyond the edge of an image: clearly no photo, on light and on dark pages

COLUMNS = {
    "code": "int64",
    "rank": "int32",
    "image_id": "str",
    "label": "int64",
    "row": "int32",
    "col": "int32",
    "cosine": "float32",
}
WEIGHTED = {**COLUMNS, "weight": "float32"}
"""Columns where prototypes are mixtures: also the weight of each patch in the code, 0 if it is only near."""


def provenance_table(
    prototypes: list[int], nearest: NearestImages, store: FeatureStore, mixture: Mixture | None = None
) -> pd.DataFrame:
    """List the training patches that every prototype is made of, and those nearest to it.

    Args:
        prototypes: Codes that the head uses.
        nearest: Nearest train images of every code.
        store: The train split.
        mixture: The patches that the codes are made of; None for free codes.

    Returns:
        ``code``, ``rank`` (from 0), ``image_id``, ``label``, ``row``, ``col`` (grid cell), ``cosine``; for mixtures
        also ``weight``. The patches of a mixture come first, largest weight first, then the others, nearest first.
    """
    import pandas as pd

    weights = None
    if mixture is not None:
        nearest, weights = _led(nearest, mixture)
    cosines, images, cells = (part.cpu().tolist() for part in (nearest.cosines, nearest.images, nearest.cells))
    labels, cols = store.labels.tolist(), store.grid[1]
    rows: list[dict[str, Any]] = [
        {
            "code": code,
            "rank": rank,
            "image_id": store.image_ids[image],
            "label": labels[image],
            "row": cell // cols,
            "col": cell % cols,
            "cosine": cosine,
            **({} if weights is None else {"weight": float(weights[code, rank])}),
        }
        for code in prototypes
        for rank, (cosine, image, cell) in enumerate(zip(cosines[code], images[code], cells[code], strict=True))
        if image >= 0
    ]
    columns = COLUMNS if weights is None else WEIGHTED
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _led(nearest: NearestImages, mixture: Mixture) -> tuple[NearestImages, Float[Tensor, "k w"]]:
    """The nearest images behind the patches of the mixtures, and the weight of each."""
    weights, order = mixture.weights.cpu().sort(dim=1, descending=True, stable=True)
    used = weights > 0
    images, cells = (part.gather(1, order).masked_fill(~used, -1) for part in (mixture.images, mixture.cells))
    codes = mixture.codes(mixture.weights)
    cosines = (mixture.units @ codes[:, :, None])[:, :, 0].cpu().gather(1, order).clamp(-1.0, 1.0)
    near = nearest.cpu()
    again = (near.images[:, :, None] == images[:, None, :]).any(dim=2)
    width = max(int(used.sum(dim=1).max()), near.images.shape[1])
    every = torch.cat([images, near.images.masked_fill(again, -1)], dim=1)
    there = (every < 0).long().argsort(dim=1, stable=True)[:, :width]

    def joined(leading: Tensor, following: Tensor) -> Tensor:
        return torch.cat([leading, following], dim=1).gather(1, there)

    led = NearestImages(joined(cosines, near.cosines), every.gather(1, there), joined(cells, near.cells))
    return led, joined(weights, torch.zeros_like(near.cosines))


def nearest_cosine(table: pd.DataFrame) -> float:
    """Mean over prototypes of the cosine with the nearest of their patches, which need not have the largest weight."""
    return float(table.groupby("code")["cosine"].max().mean())


def crop_name(code: int, rank: int) -> str:
    """File name of a patch picture."""
    return f"{code:05d}-{rank}.png"


def cut_patch(
    image: Image.Image,
    cell: tuple[int, int],
    grid: tuple[int, int],
    *,
    preprocessing: Preprocessing,
    context: float,
    size: int,
) -> Image.Image:
    """Cut a patch out of an image, with its surroundings.

    The patch is in the middle and takes 1 / (1 + 2 * context) of each side; the area beyond the image is light grey.

    Args:
        image: The whole image, RGB, upright.
        cell: (row, col) of the patch.
        grid: (h, w), in cells.
        preprocessing: The backbone's preprocessing, which places the grid on the image.
        context: Surroundings on each side, in patches.
        size: Longer side of the picture, in pixels.

    Returns:
        RGB, at most ``size`` x ``size``; never enlarged.
    """
    left, top, right, bottom = preprocessing.cell_frame(*cell, grid, *image.size)
    across, down = (right - left) * context, (bottom - top) * context
    box = (round(left - across), round(top - down), max(round(right + across), round(left - across) + 1), 0)
    box = (*box[:3], max(round(bottom + down), box[1] + 1))
    patch = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), _BEYOND)
    patch.paste(image, (-box[0], -box[1]))
    patch.thumbnail((size, size), Image.Resampling.LANCZOS)
    return patch


def write_crops(
    folder: Path,
    table: pd.DataFrame,
    images: ImageTable,
    *,
    preprocessing: Preprocessing,
    grid: tuple[int, int],
    ranks: int,
    context: float,
    size: int,
    on_event: OnEvent,
) -> None:
    """Write the pictures of the nearest patches; each image is opened once.

    Args:
        folder: Folder to create, if there is anything to write; it must not exist.
        table: Provenance of all prototypes.
        images: The train images.
        preprocessing: The backbone's preprocessing.
        grid: (h, w), in cells.
        ranks: Patches of each prototype; nothing is written for 0.
        context: Surroundings on each side, in patches.
        size: Longer side of a picture, in pixels.
        on_event: Receives progress after each image.

    Raises:
        ImageError: An image that prepare has seen is missing or cannot be decoded.
    """
    wanted = table[table["rank"] < ranks]
    if wanted.empty:
        return
    folder.mkdir()
    on_event(ProgressEvent("patch pictures", 0, len(wanted)))
    # Twice the backbone's size keeps a patch sharp and lets large JPEG files be decoded at reduced size.
    at_least = 2 * preprocessing.at_least
    done = 0
    for image_id, rows in wanted.groupby("image_id", sort=True):
        image = images.image(str(image_id), at_least=at_least)
        for code, rank, cell in _patches(rows):
            patch = cut_patch(image, cell, grid, preprocessing=preprocessing, context=context, size=size)
            (folder / crop_name(code, rank)).write_bytes(_png(patch))
        done += len(rows)
        on_event(ProgressEvent("patch pictures", done, len(wanted)))


def _patches(rows: pd.DataFrame) -> Iterator[tuple[int, int, tuple[int, int]]]:
    for code, rank, row, col in zip(rows["code"], rows["rank"], rows["row"], rows["col"], strict=True):
        yield int(code), int(rank), (int(row), int(col))


def _png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=9)
    return held.getvalue()
