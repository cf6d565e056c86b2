"""A small world to evaluate: tokens drawn around the codes of three classes."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import digest_json, write_json, writing
from protoquant.features.preprocessing import Preprocessing
from protoquant.features.spec import BackboneSpec, WeightsSpec
from protoquant.features.store import write_store
from protoquant.head.bundle import Bundle
from protoquant.head.provenance import COLUMNS

CLASSES = ("wren", "NA", "jay <b>")
N, GRID, D, K = 33, (2, 3), 12, 6
Paths = dict[str, Path]


@pytest.fixture(scope="session")
def codes() -> torch.Tensor:
    """Unit codes (k, d)."""
    return torch.nn.functional.normalize(torch.randn(K, D, generator=torch.Generator().manual_seed(0)), dim=1)


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
    drawn = codes[shown] + 0.35 * torch.randn(N, 6, D, generator=generator)
    return (drawn * 3).half(), labels


@pytest.fixture
def make(
    tmp_path: Path, codes: torch.Tensor, head: torch.Tensor, tokens: tuple[torch.Tensor, torch.Tensor]
) -> Callable[[int], Paths]:
    """Write all inputs of evaluate, with the given number of images per shard of the test features."""

    def written(shard: int = 512) -> Paths:
        root = tmp_path / f"shard-{shard}"
        preprocessing = Preprocessing((72, 72), (64, 96), "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
        backbone = BackboneSpec("test_model", WeightsSpec("packaged", "0" * 64), preprocessing)
        names = [f"test/{number:02d}.png" for number in range(N)]
        write_store(root / "features" / "test", *tokens, names, GRID, backbone, shard)
        with writing(root / "images", "images") as folder:
            write_json(folder / "classes.json", list(CLASSES))
            with writing(folder / "test", "images", drawn=False, classes=digest_json(list(CLASSES))):
                pass
        codebook = Codebook(codes, FeatureNorm("l2"))
        probe = LinearProbe(codes[:3].clone(), torch.zeros(3), torch.zeros(D), torch.ones(D))
        with writing(root / "codebook", "codebook") as folder:
            codebook.save(folder)
            probe.save(folder)
        rows = [(code, 0, "train/a.png", 0, 0, 1, 0.9) for code in range(5)]
        provenance = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
        bundle = Bundle(codebook, head, 0.1, CLASSES, GRID, backbone, {}, provenance, {"n": 1})
        with writing(root / "bundle", "bundle") as folder:
            bundle.save(folder, pd.DataFrame({"selected": [1]}))
        return {name: root / name for name in ("images", "features", "codebook", "bundle")} | {
            "root": root,
            "out": root / "evaluation",
            "metrics": root / "metrics.json",
        }

    return written
