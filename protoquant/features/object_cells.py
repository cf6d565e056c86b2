"""Which cells of images lie on the object, by the masks of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from protoquant.core.artifacts import artifact_digest, load_tensors, open_artifact, save_tensors
from protoquant.core.errors import ArtifactError, ConfigError, DataError
from protoquant.data.parts.table import KIND, PartTable
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.tokens import Grid

if TYPE_CHECKING:
    from protoquant.data.parts.table import SplitParts
    from protoquant.features.store.store import FeatureStore

OFF = 0.1
"""A box is off the object if the object, parts and body, fills less than this share of it."""
_SPLIT, _FILE, _NAME = "train", "object_cells.safetensors", "on_object"


def train_object_cells(parts: Path, store: FeatureStore) -> tuple[Bool[Tensor, "n t"], str]:
    """Find the cells of the train images that lie on the object; masks of no other split are read.

    Args:
        parts: The artifact of parts.
        store: The train features.

    Returns:
        Whether each cell of the finest grid is on the object, and the digest of the annotations.

    Raises:
        ConfigError: The data has no masks.
        ArtifactError: The annotations are missing, damaged, or of other images than the features.
        DataError: A train image has no mask.
    """
    table = PartTable.open(parts, parts)
    if (form := table.schema.form) != "masks":
        raise ConfigError(
            f"quantize.seeding_on_object must be false (params.yaml) for data without masks of parts, and "
            f"prepare.reader brought {'points alone' if form == 'points' else 'no parts'}; set it to false"
        )
    split, folder = table.split(_SPLIT), parts / _SPLIT
    images = open_artifact(folder, KIND, verify=False).inputs["images"]
    if store.inputs.get("images", images) != images:
        raise ArtifactError(f"{store.path} was extracted from other images than {folder} annotates; run extract again")
    if bare := sorted(set(store.image_ids) - set(split.image_ids)):
        raise DataError(
            f"{len(bare):,} of {store.n:,} train images have no mask of parts, such as {bare[0]}; add the masks, or "
            f"set quantize.seeding_on_object to false (params.yaml)"
        )
    cells = object_cells(split, store.image_ids, store.backbone.preprocessing, store.grid)
    return cells, artifact_digest(folder)


def object_cells(
    parts: SplitParts, image_ids: Sequence[str], preprocessing: Preprocessing, grid: Grid
) -> Bool[Tensor, "n t"]:
    """Find the cells of which parts and body fill at least a tenth.

    Args:
        parts: Masks of a split.
        image_ids: Images of it, each with a mask.
        preprocessing: The view of the backbone.
        grid: (h, w), in cells.
    """
    rows, cols = (
        np.rint(np.arange(n + 1) * side / n).astype(np.int64) for n, side in zip(grid, preprocessing.crop, strict=True)
    )
    area = np.diff(rows)[:, None] * np.diff(cols)
    found = np.zeros((len(image_ids), *grid), dtype=bool)
    for place, image_id in enumerate(image_ids):
        filled = (labels_in_view(parts.labels(image_id), preprocessing) > 0).astype(np.int64)
        filled = np.add.reduceat(np.add.reduceat(filled, rows[:-1], axis=0), cols[:-1], axis=1)
        found[place] = filled / area >= OFF
    return torch.from_numpy(found).flatten(1)


def save_object_cells(folder: Path, cells: Bool[Tensor, "n t"]) -> None:
    """Write cells beside the codes that were seeded from them."""
    save_tensors(folder / _FILE, {_NAME: cells})


def open_object_cells(folder: Path) -> Bool[Tensor, "n t"] | None:
    """Read what :func:`save_object_cells` wrote; None if it wrote nothing."""
    return load_tensors(folder / _FILE)[_NAME] if (folder / _FILE).is_file() else None


def labels_in_view(labels: UInt8[np.ndarray, "h w"], preprocessing: Preprocessing) -> UInt8[np.ndarray, "u v"]:
    """Resize and cut a label map as the preprocessing does with the image; what is beyond the image is background.

    Args:
        labels: The label map of the upright image.
        preprocessing: The view.
    """
    image = Image.fromarray(labels)
    placed = preprocessing.placement(*image.size)
    resized = image.resize((placed.width, placed.height), Image.Resampling.NEAREST)
    height, width = preprocessing.crop
    return np.asarray(resized.crop((placed.left, placed.top, placed.left + width, placed.top + height)))
