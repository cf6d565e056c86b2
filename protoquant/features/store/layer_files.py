"""The shard files of one layer in a feature store, verified when they are first read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.core.artifacts import (
    MANIFEST,
    digest_bytes,
    digest_file,
    digest_json,
    json_text,
    load_tensors,
    read_json,
)
from protoquant.core.errors import ArtifactError
from protoquant.features.config import LAST
from protoquant.features.store.dtypes import SCALES, TOKENS, Shard, copy_rows, unpack
from protoquant.features.tokens import Grid

_LAYERS = "layers"


def shard_name(number: int, layer: str = LAST) -> str:
    """File name of a shard, counted from 0; those of the last layer lie in the store's own folder."""
    file = f"shard-{number:05d}.safetensors"
    return file if layer == LAST else f"{_LAYERS}/{layer}/{file}"


def digest_of_layers(path: Path, layers: Sequence[str]) -> str:
    """The digest that a store would have, if it held some of its layers and no other.

    What is made of the last layer alone is thus the same, to the byte, whatever else is stored beside it.

    Args:
        path: The folder of the store.
        layers: Names of the layers, the last one among them.
    """
    return digest_bytes(_manifest_of(path, layers))


def _manifest_of(path: Path, layers: Sequence[str]) -> bytes:
    """The manifest of a store of some layers; those of its views are in it by their digests."""
    manifest = read_json(path / MANIFEST)
    del manifest["sha256"]
    others = [shape["name"] for shape in manifest["extra"]["layers"] if shape["name"] not in layers]
    folders = {f"{_LAYERS}/{name}" for name in others}
    files = {
        name: entry
        for name, entry in manifest["files"].items()
        if not any(f"/{folder}/" in f"/{name}" for folder in folders)
    }
    for name in [name for name in files if name.endswith(f"/{MANIFEST}")]:
        text = _manifest_of((path / name).parent, layers)
        files[name] = {"bytes": len(text), "sha256": digest_bytes(text)}
    extra = manifest["extra"]
    kept = [shape for shape in extra.pop("layers") if shape["name"] in layers]
    named = extra["backbone"].pop("layers")
    if kept:
        extra["layers"], extra["backbone"]["layers"] = kept, [name for name in named if name in layers]
    manifest["files"] = files
    return json_text({**manifest, "sha256": digest_json(manifest)}).encode()


@dataclass(frozen=True)
class LayerFiles:
    """Patch tokens of one layer, in shards.

    Attributes:
        path: The folder of the store.
        name: Name of the layer.
        n: Number of images.
        grid: (h, w), in cells.
        d: Dimension of a token.
        shard: Images per file; the last file may hold fewer.
        dtype: Stored dtype; int8 tokens are returned as float32.
        files: The files that the store's manifest names.
    """

    path: Path
    name: str
    n: int
    grid: Grid
    d: int
    shard: int
    dtype: torch.dtype
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    _verified: set[int] = field(default_factory=set, repr=False)

    def read(self, number: int) -> Shard:
        """The tokens of a shard, memory-mapped.

        Raises:
            ArtifactError: The shard is missing or damaged.
        """
        return unpack(self._stored(number))

    def tokens(self, wanted: Int64[Tensor, " m"]) -> Float[Tensor, "m t d"]:
        """The tokens of images by position, each in [0, n).

        Raises:
            ArtifactError: A shard is missing or damaged.
        """
        found = {name: torch.empty((len(wanted), *shape), dtype=dtype) for name, shape, dtype in self._parts}
        for number in torch.unique(wanted // self.shard).tolist():
            here = (wanted // self.shard == number).nonzero().flatten()
            for name, stored in self._stored(number).items():
                copy_rows(stored, wanted[here] - number * self.shard, found[name], here)
        return unpack(found)[:]

    @property
    def _parts(self) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
        """Name, shape for one image, and dtype of each tensor of a shard."""
        t = self.grid[0] * self.grid[1]
        tokens = (TOKENS, (t, self.d), self.dtype)
        return [tokens, (SCALES, (t,), torch.float32)] if self.dtype == torch.int8 else [tokens]

    def _stored(self, number: int) -> dict[str, Tensor]:
        name = shard_name(number, self.name)
        file = self.path / name
        if name not in self.files:
            raise ArtifactError(f"{self.path} names no {name}; run extract")
        if number not in self._verified:
            if not file.is_file():
                raise ArtifactError(f"{file} is missing; run extract")
            if digest_file(file) != self.files[name]["sha256"]:
                raise ArtifactError(f"{file} is damaged: its digest differs from the manifest's; run extract")
            self._verified.add(number)
        stored, images = load_tensors(file), min(self.shard, self.n - number * self.shard)
        expected = {name: ((images, *shape), dtype) for name, shape, dtype in self._parts}
        if {name: (tuple(part.shape), part.dtype) for name, part in stored.items()} != expected:
            raise ArtifactError(f"{file} does not hold the {images} images that {self.path} names; run extract")
        return stored
