"""The feature store: shards of patch tokens on disk, read by memory map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from protoquant.core.artifacts import (
    MANIFEST,
    Manifest,
    artifact_digest,
    digest_file,
    open_artifact,
    read_table,
)
from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.features.config import LAST
from protoquant.features.store.dtypes import DTYPES, Shard
from protoquant.features.store.layer_files import LayerFiles, digest_of_layers
from protoquant.features.tokens import Grid, LayeredTokens, PatchTokens, finest

if TYPE_CHECKING:
    import pandas as pd

KIND = "feature-store"
INDEX = "index.parquet"
VIEWS = "views"


def view_name(number: int) -> str:
    """Folder of an augmented view inside its store, counted from 1."""
    return f"{VIEWS}/{number:02d}"


@dataclass(frozen=True)
class LayeredShard:
    """Tokens of consecutive images from several layers; a slice of it is :class:`LayeredTokens`."""

    parts: tuple[Shard, ...]
    grids: tuple[Grid, ...]
    names: tuple[str, ...]

    def __getitem__(self, images: slice) -> LayeredTokens:
        return LayeredTokens(tuple(part[images] for part in self.parts), self.grids, self.names)


@dataclass(frozen=True)
class FeatureStore:
    """Patch tokens of one split, in the order of the image ids; opening it reads no token.

    Attributes:
        path: The folder.
        n: Number of images.
        layers: The layers of the backbone, in its order.
        shard: Images per file; the last file may hold fewer.
        dtype: Stored dtype; int8 tokens are returned as float32.
        image_ids: Relative POSIX path of each image.
        labels: Class of each image (n,), int64.
        backbone: The backbone that computed the tokens.
        inputs: Digest of each artifact that the store was made from.
    """

    path: Path
    n: int
    layers: tuple[LayerFiles, ...]
    shard: int
    dtype: torch.dtype
    image_ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    backbone: BackboneSpec
    inputs: Mapping[str, str]
    _files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    _stored: int = field(repr=False)

    @classmethod
    def open(cls, path: Path, layers: Sequence[str] | None = None) -> FeatureStore:
        """Open a store.

        Args:
            path: Folder of one split.
            layers: Names of the layers to read, in the order of the network; None for all that it holds.

        Raises:
            ArtifactError: The store is missing, of another kind, incomplete or inconsistent, or lacks a layer.
        """
        manifest = open_artifact(path, KIND, verify=False)
        try:
            if digest_file(path / INDEX) != manifest.files[INDEX]["sha256"]:
                raise ArtifactError(f"{path / INDEX} is damaged: its digest differs from the manifest's; run extract")
            whole = cls._from_manifest(path, manifest, read_table(path / INDEX))
        except KeyError as error:
            raise ArtifactError(f"{path / MANIFEST} is damaged: {error} is missing; run extract") from error
        return whole if layers is None or tuple(layers) == whole.backbone.layers else whole.only(layers)

    def only(self, layers: Sequence[str]) -> FeatureStore:
        """The store with some of its layers; raises ArtifactError if it lacks one."""
        held = {layer.name: layer for layer in self.layers}
        missing = [name for name in layers if name not in held]
        if missing:
            raise ArtifactError(
                f"{self.path} holds the layers {', '.join(held)}, not {', '.join(missing)}; name it in extract.layers "
                "and run extract"
            )
        chosen = tuple(held[name] for name in held if name in layers)
        return replace(
            self, layers=chosen, backbone=replace(self.backbone, layers=tuple(layer.name for layer in chosen))
        )

    @classmethod
    def _from_manifest(cls, path: Path, manifest: Manifest, index: pd.DataFrame) -> FeatureStore:
        extra = manifest.extra
        n, shard, dtype = extra["n"], extra["shard"], DTYPES[extra["dtype"]]
        if len(index) != n:
            raise ArtifactError(f"{path} must hold {n} images, its index holds {len(index)}; run extract")
        shapes = [LayerShape.from_dict(shape) for shape in extra.get("layers", [])]
        last = LayerShape(LAST, tuple(extra["grid"]), extra["d"])
        return cls(
            path=path,
            n=n,
            layers=tuple(
                LayerFiles(path, shape.name, n, shape.grid, shape.d, shard, dtype, manifest.files)
                for shape in (*shapes, last)
            ),
            shard=shard,
            dtype=dtype,
            image_ids=tuple(index["image_id"]),
            labels=torch.tensor(index["label"].to_numpy(copy=True), dtype=torch.int64),
            backbone=BackboneSpec.from_dict(extra["backbone"]),
            inputs=manifest.inputs,
            _files=manifest.files,
            _stored=1 + len(shapes),
        )

    def __len__(self) -> int:
        return self.n

    @property
    def grid(self) -> Grid:
        """(h, w) of the finest layer, in cells."""
        return finest([layer.grid for layer in self.layers])

    @property
    def t(self) -> int:
        """Number of patch tokens of the finest layer in an image, row by row."""
        rows, cols = self.grid
        return rows * cols

    @property
    def d(self) -> int:
        """Dimension of a token, over all layers."""
        return sum(layer.d for layer in self.layers)

    @property
    def digest(self) -> str:
        """Digest of the store's content; that of some layers is the digest of a store that holds no other."""
        names = self.backbone.layers
        return artifact_digest(self.path) if len(names) == self._stored else digest_of_layers(self.path, names)

    @cached_property
    def views(self) -> tuple[FeatureStore, ...]:
        """Augmented views of the same images in the same order, by number; empty if extract made none.

        Raises:
            ArtifactError: A view is missing, damaged, or of other images.
        """
        names = {"/".join(name.split("/")[:2]) for name in self._files if name.startswith(f"{VIEWS}/")}
        return tuple(self._view(name) for name in sorted(names))

    def shards(self, images: slice | None = None) -> Iterator[tuple[slice, Shard | LayeredShard]]:
        """Iterate over the store, one memory-mapped shard at a time.

        Args:
            images: A range of images; shards without any of them are skipped. None for all images.

        Yields:
            The shard's range of images, and its tokens; slice them, and do not write to them.

        Raises:
            ArtifactError: A shard is missing or damaged.
        """
        first, after = (0, self.n) if images is None else (images.start, images.stop)
        for start in range(first - first % self.shard, after, self.shard):
            parts = tuple(layer.read(start // self.shard) for layer in self.layers)
            whole = parts[0] if len(parts) == 1 else LayeredShard(parts, self._grids, self.backbone.layers)
            yield slice(start, min(start + self.shard, self.n)), whole

    def tokens(self, indices: Int64[Tensor, " m"] | Sequence[int]) -> PatchTokens:
        """Read the tokens of chosen images.

        Args:
            indices: Positions in [0, n), in any order; they may repeat.

        Returns:
            Tokens in the order of the indices (m, t, d), or those of several layers, in the stored dtype; int8 tokens
            in float32.

        Raises:
            ShapeError: An index is out of range. ArtifactError: A shard is missing or damaged.
        """
        wanted = torch.as_tensor(indices, dtype=torch.int64)
        if wanted.numel() and (int(wanted.min()) < 0 or int(wanted.max()) >= self.n):
            raise ShapeError(
                f"image positions must lie in [0, {self.n}), got {int(wanted.min())} to {int(wanted.max())}"
            )
        parts = tuple(layer.tokens(wanted) for layer in self.layers)
        return parts[0] if len(parts) == 1 else LayeredTokens(parts, self._grids, self.backbone.layers)

    @property
    def shapes(self) -> tuple[LayerShape, ...]:
        """Name, grid and dimension of each layer."""
        return tuple(LayerShape(layer.name, layer.grid, layer.d) for layer in self.layers)

    @property
    def _grids(self) -> tuple[Grid, ...]:
        return tuple(layer.grid for layer in self.layers)

    def _view(self, name: str) -> FeatureStore:
        path = self.path / name
        manifest = f"{name}/{MANIFEST}"
        if manifest not in self._files or digest_file(path / MANIFEST) != self._files[manifest]["sha256"]:
            raise ArtifactError(f"{path / MANIFEST} is damaged: it is not the one that its store names; run extract")
        view = FeatureStore.open(path, self.backbone.layers)
        for what in ("image_ids", "shapes", "dtype", "backbone"):
            if getattr(view, what) != getattr(self, what):
                raise ArtifactError(f"{path} must have the {what} of {self.path}, it has others; run extract")
        if not torch.equal(view.labels, self.labels):
            raise ArtifactError(f"{path} must have the labels of {self.path}, it has others; run extract")
        return view
