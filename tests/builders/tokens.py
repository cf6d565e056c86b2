"""Patch tokens around known directions, and the stores that hold them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from protoquant.features.backbone.spec import BackboneSpec
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from tests.builders.specs import spec

GRID = (2, 3)


def units(k: int, d: int, seed: int = 0) -> Tensor:
    """Random unit vectors (k, d)."""
    return torch.nn.functional.normalize(torch.randn(k, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def turned(*degrees: float, d: int = 4) -> Tensor:
    """Unit vectors in a plane, at these angles."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    vectors = torch.zeros(len(degrees), d, dtype=torch.float64)
    vectors[:, 0], vectors[:, 1] = angles.cos(), angles.sin()
    return vectors.float()


def around(vectors: Tensor, shown: Tensor, generator: torch.Generator, *, noise: float, scale: float = 3.0) -> Tensor:
    """Tokens (n, t, d) in half precision, each near the vector that ``shown`` (n, t) names."""
    drawn = vectors[shown] + noise * torch.randn(*shown.shape, vectors.shape[1], generator=generator)
    return (scale * drawn).half()


DIRECTIONS = units(8, 16, 99)
"""Two of each of three classes, then two that all share."""


def clustered(n: int, seed: int, vectors: Tensor = DIRECTIONS, *, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Tokens of ``GRID`` and labels: each class shows its own two of the vectors, all share the last two."""
    classes = len(vectors) // 2 - 1
    labels = torch.arange(n) % classes
    kinds = torch.tensor([0, 1, -1, -2, 0, -1])
    shown = torch.where(kinds >= 0, labels[:, None] * 2 + kinds, classes * 2 + 2 + kinds)
    return around(vectors, shown, torch.Generator().manual_seed(seed), noise=noise), labels


def write_split(
    folder: Path,
    tokens: Tensor,
    labels: Tensor,
    *,
    ids: Sequence[str] | None = None,
    grid: tuple[int, int] = GRID,
    backbone: BackboneSpec | None = None,
    shard: int = 4,
) -> FeatureStore:
    """The features of a split that is named like the folder; its images are numbered unless ids are given."""
    names = ids or [f"{folder.name}/{number:03d}.png" for number in range(len(labels))]
    write_store(folder, tokens, labels, names, grid, backbone or spec(), shard)
    return FeatureStore.open(folder)
