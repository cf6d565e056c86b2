"""The feature store: shards of patch tokens on disk, read by memory map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.core.artifacts import (
    MANIFEST,
    Manifest,
    artifact_digest,
    digest_file,
    load_tensors,
    open_artifact,
    read_table,
    save_tensors,
    write_table,
    writing,
)
from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.features.store.dtypes import DTYPES, SCALES, TOKENS, Shard, copy_rows, pack, unpack

if TYPE_CHECKING:
    import pandas as pd

KIND = "feature-store"
INDEX = "index.parquet"
VIEWS = "views"


def shard_name(number: int) -> str:
    """File name of a shard, counted from 0."""
    return f"shard-{number:05d}.safetensors"


def view_name(number: int) -> str:
    """Folder of an augmented view inside its store, counted from 1."""
    return f"{VIEWS}/{number:02d}"


@dataclass(frozen=True)
class FeatureStore:
    """Patch tokens of one split, in the order of the image ids; opening it reads no token.

    Attributes:
        path: The folder.
        n: Number of images.
        t: Number of patch tokens in an image, h * w, row by row.
        d: Dimension of a token.
        grid: (h, w), in cells.
        shard: Images per file; the last file may hold fewer.
        dtype: Stored dtype; int8 tokens are returned as float32.
        image_ids: Relative POSIX path of each image.
        labels: Class of each image (n,), int64.
        backbone: The backbone that computed the tokens.
        inputs: Digest of each artifact that the store was made from.
    """

    path: Path
    n: int
    t: int
    d: int
    grid: tuple[int, int]
    shard: int
    dtype: torch.dtype
    image_ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    backbone: BackboneSpec
    inputs: Mapping[str, str]
    _files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    _verified: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def open(cls, path: Path) -> FeatureStore:
        """Open a store.

        Args:
            path: Folder of one split.

        Raises:
            ArtifactError: The store is missing, of another kind, incomplete or inconsistent.
        """
        manifest = open_artifact(path, KIND, verify=False)
        try:
            if digest_file(path / INDEX) != manifest.files[INDEX]["sha256"]:
                raise ArtifactError(f"{path / INDEX} is damaged: its digest differs from the manifest's; run extract")
            return cls._from_manifest(path, manifest, read_table(path / INDEX))
        except KeyError as error:
            raise ArtifactError(f"{path / MANIFEST} is damaged: {error} is missing; run extract") from error

    @classmethod
    def _from_manifest(cls, path: Path, manifest: Manifest, index: pd.DataFrame) -> FeatureStore:
        extra = manifest.extra
        rows, cols = extra["grid"]
        if len(index) != extra["n"]:
            raise ArtifactError(f"{path} must hold {extra['n']} images, its index holds {len(index)}; run extract")
        return cls(
            path=path,
            n=extra["n"],
            t=rows * cols,
            d=extra["d"],
            grid=(rows, cols),
            shard=extra["shard"],
            dtype=DTYPES[extra["dtype"]],
            image_ids=tuple(index["image_id"]),
            labels=torch.tensor(index["label"].to_numpy(copy=True), dtype=torch.int64),
            backbone=BackboneSpec.from_dict(extra["backbone"]),
            inputs=manifest.inputs,
            _files=manifest.files,
        )

    def __len__(self) -> int:
        return self.n

    @property
    def digest(self) -> str:
        """Digest of the store's content."""
        return artifact_digest(self.path)

    @cached_property
    def views(self) -> tuple[FeatureStore, ...]:
        """Augmented views of the same images in the same order, by number; empty if extract made none.

        Raises:
            ArtifactError: A view is missing, damaged, or of other images.
        """
        names = {name.rpartition("/")[0] for name in self._files if name.startswith(f"{VIEWS}/")}
        return tuple(self._view(name) for name in sorted(names))

    def shards(self, images: slice | None = None) -> Iterator[tuple[slice, Shard]]:
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
            yield slice(start, min(start + self.shard, self.n)), unpack(self._shard(start // self.shard))

    def tokens(self, indices: Int64[Tensor, " m"] | Sequence[int]) -> Float[Tensor, "m t d"]:
        """Read the tokens of chosen images.

        Args:
            indices: Positions in [0, n), in any order; they may repeat.

        Returns:
            Tokens in the order of the indices, in the stored dtype; int8 tokens in float32.

        Raises:
            ShapeError: An index is out of range. ArtifactError: A shard is missing or damaged.
        """
        wanted = torch.as_tensor(indices, dtype=torch.int64)
        if wanted.numel() and (int(wanted.min()) < 0 or int(wanted.max()) >= self.n):
            raise ShapeError(
                f"image positions must lie in [0, {self.n}), got {int(wanted.min())} to {int(wanted.max())}"
            )
        found = {name: torch.empty((len(wanted), *shape), dtype=dtype) for name, shape, dtype in self._parts}
        for number in torch.unique(wanted // self.shard).tolist():
            here = (wanted // self.shard == number).nonzero().flatten()
            for name, stored in self._shard(number).items():
                copy_rows(stored, wanted[here] - number * self.shard, found[name], here)
        return unpack(found)[:]

    @property
    def _parts(self) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
        """Name, shape for one image, and dtype of each tensor of a shard."""
        tokens = (TOKENS, (self.t, self.d), self.dtype)
        return [tokens, (SCALES, (self.t,), torch.float32)] if self.dtype == torch.int8 else [tokens]

    def _view(self, name: str) -> FeatureStore:
        path = self.path / name
        manifest = f"{name}/{MANIFEST}"
        if manifest not in self._files or digest_file(path / MANIFEST) != self._files[manifest]["sha256"]:
            raise ArtifactError(f"{path / MANIFEST} is damaged: it is not the one that its store names; run extract")
        view = FeatureStore.open(path)
        for what in ("image_ids", "grid", "d", "dtype", "backbone"):
            if getattr(view, what) != getattr(self, what):
                raise ArtifactError(f"{path} must have the {what} of {self.path}, it has others; run extract")
        if not torch.equal(view.labels, self.labels):
            raise ArtifactError(f"{path} must have the labels of {self.path}, it has others; run extract")
        return view

    def _shard(self, number: int) -> dict[str, Tensor]:
        name = shard_name(number)
        file = self.path / name
        if name not in self._files:
            raise ArtifactError(f"{self.path} names no {name}; run extract")
        if number not in self._verified:
            if not file.is_file():
                raise ArtifactError(f"{file} is missing; run extract")
            if digest_file(file) != self._files[name]["sha256"]:
                raise ArtifactError(f"{file} is damaged: its digest differs from the manifest's; run extract")
            self._verified.add(number)
        stored, images = load_tensors(file), min(self.shard, self.n - number * self.shard)
        expected = {name: ((images, *shape), dtype) for name, shape, dtype in self._parts}
        if {name: (tuple(part.shape), part.dtype) for name, part in stored.items()} != expected:
            raise ArtifactError(f"{file} does not hold the {images} images that {self.path} names; run extract")
        return stored


@dataclass(frozen=True)
class StoreHeader:
    """The values that describe a store in its manifest; see FeatureStore."""

    grid: tuple[int, int]
    d: int
    dtype: str
    shard: int
    backbone: BackboneSpec

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "grid": list(self.grid),
            "d": self.d,
            "dtype": self.dtype,
            "shard": self.shard,
            "backbone": self.backbone.to_dict(),
        }


def index_table(image_ids: Sequence[str], labels: Sequence[int] | Int64[Tensor, " n"]) -> pd.DataFrame:
    """The table beside the shards: image_id and label of each image, in the order of the tokens."""
    import pandas as pd

    classes = torch.as_tensor(labels, dtype=torch.int64).numpy()
    return pd.DataFrame({"image_id": pd.array(list(image_ids), dtype="str"), "label": classes})


def write_store(  # noqa: PLR0917
    out: Path,
    tokens: Float[Tensor, "n t d"],
    labels: Int64[Tensor, " n"] | Sequence[int],
    image_ids: Sequence[str],
    grid: tuple[int, int],
    backbone: BackboneSpec,
    shard: int = 512,
    inputs: Mapping[str, str] | None = None,
    views: Sequence[Float[Tensor, "n t d"]] = (),
    dtype: str | None = None,
) -> None:
    """Write a store from tokens that fit into memory.

    Args:
        out: The folder; an older store is replaced.
        tokens: Patch tokens, float16 or float32.
        labels: Class of each image.
        image_ids: Relative POSIX path of each image.
        grid: (h, w) with h * w == t.
        backbone: The backbone that computed the tokens.
        shard: Images per file, at least 1.
        inputs: Digest of each artifact that the tokens were made from.
        views: Tokens of augmented views of the same images.
        dtype: Dtype to store them in; None for their own.

    Raises:
        ShapeError: Tokens, labels, ids and grid do not match.
    """
    n, t, d = tokens.shape
    if grid[0] * grid[1] != t or len(labels) != n or len(image_ids) != n:
        raise ShapeError(
            f"tokens {tuple(tokens.shape)} need a grid of {t} cells, {n} labels and {n} ids; "
            f"got grid {grid}, {len(labels)} labels, {len(image_ids)} ids"
        )
    dtype = dtype or str(tokens.dtype).removeprefix("torch.")
    header = StoreHeader(grid, d, dtype, shard, backbone)
    with writing(out, KIND, inputs, n=n, **header.to_dict()) as folder:
        for start in range(0, n, shard):
            save_tensors(folder / shard_name(start // shard), pack(tokens[start : start + shard], dtype))
        write_table(folder / INDEX, index_table(image_ids, labels))
        for number, view in enumerate(views, start=1):
            write_store(folder / view_name(number), view, labels, image_ids, grid, backbone, shard, inputs, dtype=dtype)
