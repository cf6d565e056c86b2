"""Writes feature stores: the header of the manifest, the table of images, and whole stores from tokens in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from protoquant.core.artifacts import save_tensors, write_table, writing
from protoquant.core.errors import ShapeError
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.features.store.dtypes import pack
from protoquant.features.store.layer_files import shard_name
from protoquant.features.store.store import INDEX, KIND, view_name
from protoquant.features.tokens import LayeredTokens, PatchTokens, maps_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StoreHeader:
    """The values that describe a store in its manifest; see FeatureStore."""

    shapes: tuple[LayerShape, ...]
    dtype: str
    shard: int
    backbone: BackboneSpec

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest; layers before the last one have an entry of their own."""
        *others, last = self.shapes
        return {
            "grid": list(last.grid),
            "d": last.d,
            "dtype": self.dtype,
            "shard": self.shard,
            "backbone": self.backbone.to_dict(),
            **({"layers": [shape.to_dict() for shape in others]} if others else {}),
        }


def index_table(image_ids: Sequence[str], labels: Sequence[int] | Int64[Tensor, " n"]) -> pd.DataFrame:
    """The table beside the shards: image_id and label of each image, in the order of the tokens."""
    import pandas as pd

    classes = torch.as_tensor(labels, dtype=torch.int64).numpy()
    return pd.DataFrame({"image_id": pd.array(list(image_ids), dtype="str"), "label": classes})


def write_store(  # noqa: PLR0917
    out: Path,
    tokens: PatchTokens,
    labels: Int64[Tensor, " n"] | Sequence[int],
    image_ids: Sequence[str],
    grid: tuple[int, int],
    backbone: BackboneSpec,
    shard: int = 512,
    inputs: Mapping[str, str] | None = None,
    views: Sequence[PatchTokens] = (),
    dtype: str | None = None,
) -> None:
    """Write a store from tokens that fit into memory.

    Args:
        out: The folder; an older store is replaced.
        tokens: Patch tokens, float16 or float32, of the layers that the backbone names.
        labels: Class of each image.
        image_ids: Relative POSIX path of each image.
        grid: (h, w) of the last layer, in cells.
        backbone: The backbone that computed the tokens.
        shard: Images per file, at least 1.
        inputs: Digest of each artifact that the tokens were made from.
        views: Tokens of augmented views of the same images.
        dtype: Dtype to store them in; None for their own.

    Raises:
        ShapeError: Tokens, labels, ids and grid do not match.
    """
    maps = maps_of(tokens)
    n, t, _ = maps[-1].shape
    if grid[0] * grid[1] != t or len(labels) != n or len(image_ids) != n:
        raise ShapeError(
            f"tokens {tuple(maps[-1].shape)} need a grid of {t} cells, {n} labels and {n} ids; "
            f"got grid {grid}, {len(labels)} labels, {len(image_ids)} ids"
        )
    grids = tokens.grids if isinstance(tokens, LayeredTokens) else (grid,)
    dtype = dtype or str(maps[-1].dtype).removeprefix("torch.")
    named = zip(backbone.layers, grids, maps, strict=True)
    header = StoreHeader(
        tuple(LayerShape(name, of_layer, part.shape[-1]) for name, of_layer, part in named), dtype, shard, backbone
    )
    with writing(out, KIND, inputs, n=n, **header.to_dict()) as folder:
        for start in range(0, n, shard):
            for name, part in zip(backbone.layers, maps, strict=True):
                file = folder / shard_name(start // shard, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                save_tensors(file, pack(part[start : start + shard], dtype))
        write_table(folder / INDEX, index_table(image_ids, labels))
        for number, view in enumerate(views, start=1):
            write_store(folder / view_name(number), view, labels, image_ids, grid, backbone, shard, inputs, dtype=dtype)
