"""A small world to evaluate: tokens drawn around the codes of three classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from tests.builders.bundles import bundle, plain_probe, write_bundle
from tests.builders.images import write_images
from tests.builders.parts import write_no_parts
from tests.builders.specs import preprocessing, spec
from tests.builders.tokens import around, units, write_split

CLASSES = ("wren", "NA", "jay <b>")
N, D, K = 33, 12, 6
Paths = dict[str, Path]


@pytest.fixture(scope="session")
def codes() -> torch.Tensor:
    """Unit codes (k, d)."""
    return units(K, D)


@pytest.fixture(scope="session")
def head() -> torch.Tensor:
    """Two codes for each class; code 5 is unused, code 4 shared."""
    weights = torch.zeros(3, K)
    weights[0, 0], weights[1, 1], weights[2, 2] = 4.0, 3.0, 5.0
    weights[0, 3], weights[1, 4], weights[2, 4] = 1.0, 0.5, 2.0
    return weights


@pytest.fixture(scope="session")
def tokens(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, t, d) and labels (n); every image shows a code of its class, most others at random."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(N) % 3
    shown = torch.randint(0, K, (N, 6), generator=generator)
    shown[torch.arange(N), torch.randint(0, 6, (N,), generator=generator)] = labels
    return around(codes, shown, generator, noise=0.35), labels


@pytest.fixture
def make(
    tmp_path: Path, codes: torch.Tensor, head: torch.Tensor, tokens: tuple[torch.Tensor, torch.Tensor]
) -> Callable[[int], Paths]:
    """Write all inputs of evaluate, with the given number of images per shard of the test features."""

    def written(shard: int = 512) -> Paths:
        root = tmp_path / f"shard-{shard}"
        backbone = spec(view=preprocessing((64, 96), (72, 72)))
        write_split(root / "features" / "test", *tokens, backbone=backbone, shard=shard)
        write_images(root / "images", {"test": N}, classes=CLASSES)
        write_no_parts(root / "parts")
        with writing(root / "codebook", "codebook") as folder:
            Codebook(codes, FeatureNorm("l2")).save(folder)
            plain_probe(codes[:3].clone()).save(folder)
        write_bundle(root / "bundle", bundle(codes, head, classes=CLASSES, backbone=backbone))
        return {name: root / name for name in ("images", "parts", "features", "codebook", "bundle")} | {
            "root": root,
            "out": root / "evaluation",
            "metrics": root / "metrics.json",
        }

    return written
