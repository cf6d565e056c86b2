"""What train reads, made by hand: features, images and a codebook, as fixtures for a ``conftest.py`` to import."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.features.store.store import FeatureStore
from tests.builders.bundles import plain_probe
from tests.builders.images import write_images
from tests.builders.specs import preprocessing, spec
from tests.builders.tokens import DIRECTIONS, clustered, write_split

SIZES = {"train": 24, "validation": 12, "test": 6}


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder, backbone = tmp_path / "features", spec(view=preprocessing((32, 32), mode="center"))
    for seed, (split, n) in enumerate(SIZES.items()):
        write_split(folder / split, *clustered(n, seed), backbone=backbone, shard=10)
    return folder


def ramp(number: int) -> Image.Image:
    """A gradient of its own for each number."""
    grey = np.add.outer(np.arange(40), 3 * np.arange(48)).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey + number, 255 - grey], axis=2))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """What prepare writes for a reader that draws."""
    return write_images(tmp_path / "images", SIZES, draw=ramp)


@pytest.fixture
def codebook(tmp_path: Path, features: Path) -> Path:
    """Codes on the directions of the classes and of the background, and a probe that knows nothing."""
    inputs = {f"features/{name}": FeatureStore.open(features / name).digest for name in ("train", "validation")}
    with writing(tmp_path / "codebook", "codebook", inputs) as folder:
        Codebook(DIRECTIONS, FeatureNorm("l2")).save(folder)
        plain_probe(torch.zeros(3, 16), torch.tensor([0.0, 1.0, 0.0])).save(folder)
    return tmp_path / "codebook"


@pytest.fixture
def inputs(features: Path, images: Path, codebook: Path, tmp_path: Path) -> dict[str, Path]:
    """What train reads, by the names of its arguments."""
    return {"images": images, "root": tmp_path, "features": features, "codebook": codebook}
