from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import digest_file, digest_json, write_json, write_table, writing
from protoquant.data.table import DTYPES
from protoquant.features.preprocessing import Preprocessing
from protoquant.features.spec import BackboneSpec, WeightsSpec
from protoquant.features.store import FeatureStore, write_store

PREPROCESSING = Preprocessing((32, 32), (32, 32), "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPEC = BackboneSpec("test_resnet", WeightsSpec("file", "ab" * 32, "weights.safetensors"), PREPROCESSING)
CLASSES, GRID, D = ("auk", "bee-eater", "crane"), (2, 3), 16
SIZES = {"train": 24, "validation": 12, "test": 6}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads only wait for each other on tensors as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def directions() -> torch.Tensor:
    """Two of each class, then two that all share; the first six are the codes."""
    drawn = torch.randn(len(CLASSES) * 2 + 2, D, generator=torch.Generator().manual_seed(99))
    return torch.nn.functional.normalize(drawn)


def clustered_tokens(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(CLASSES)
    kinds = torch.tensor([0, 1, -1, -2, 0, -1])
    own = torch.where(kinds >= 0, labels[:, None] * 2 + kinds, len(CLASSES) * 2 + 2 + kinds)
    tokens = directions()[own] + 0.1 * torch.randn(n, len(kinds), D, generator=generator)
    return (3.0 * tokens).to(torch.float16), labels


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    for seed, (split, n) in enumerate(SIZES.items()):
        tokens, labels = clustered_tokens(n, seed)
        ids = [f"{split}/{number:03d}.png" for number in range(n)]
        write_store(folder / split, tokens, labels, ids, GRID, SPEC, shard=10)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """What prepare writes for a reader that draws; each image is a gradient of its own."""
    with writing(tmp_path / "images", "images") as folder:
        write_json(folder / "classes.json", list(CLASSES))
        for split, n in SIZES.items():
            with writing(folder / split, "images", drawn=True, classes=digest_json(list(CLASSES))) as part:
                rows = []
                for number in range(n):
                    ramp = np.add.outer(np.arange(40), 3 * np.arange(48)).astype(np.uint8)
                    Image.fromarray(np.stack([ramp, ramp + number, 255 - ramp], axis=2)).save(
                        part / f"{number:03d}.png"
                    )
                    digest, label = digest_file(part / f"{number:03d}.png"), number % len(CLASSES)
                    rows.append((f"{split}/{number:03d}.png", label, CLASSES[label], split, digest, 48, 40))
                write_table(part / "images.parquet", pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES))
    return tmp_path / "images"


@pytest.fixture
def codebook(tmp_path: Path, features: Path) -> Path:
    """Codes on the directions of the classes and of the background, and a probe that knows nothing."""
    inputs = {f"features/{name}": FeatureStore.open(features / name).digest for name in ("train", "validation")}
    with writing(tmp_path / "codebook", "codebook", inputs) as folder:
        Codebook(directions(), FeatureNorm("l2")).save(folder)
        LinearProbe(torch.zeros(3, D), torch.tensor([0.0, 1.0, 0.0]), torch.zeros(D), torch.ones(D)).save(folder)
    return tmp_path / "codebook"


@pytest.fixture
def inputs(features: Path, images: Path, codebook: Path, tmp_path: Path) -> dict[str, Path]:
    """What train reads, by the names of its arguments."""
    return {"images": images, "root": tmp_path, "features": features, "codebook": codebook}
