import pytest
import torch

from protoquant.features.preprocessing import Preprocessing
from protoquant.features.spec import BackboneSpec, WeightsSpec
from protoquant.features.store import write_store

PREPROCESSING = Preprocessing((256, 256), (224, 224), "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPEC = BackboneSpec("test_resnet", WeightsSpec("file", "ab" * 32, "weights.safetensors"), PREPROCESSING)
CLASSES, GRID, D = 3, (2, 3), 16


def clustered_tokens(n, seed):
    """Images of three classes: each has its own two directions, and all share two of the background."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(CLASSES * 2 + 2, D, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % CLASSES
    kinds = torch.tensor([0, 1, -1, -2, 0, -1])
    own = torch.where(kinds >= 0, labels[:, None] * 2 + kinds, CLASSES * 2 + 2 + kinds)
    tokens = directions[own] + 0.25 * torch.randn(n, len(kinds), D, generator=generator)
    return (3.0 * tokens).to(torch.float16), labels


@pytest.fixture
def write_split():
    def write(folder, split, n, *, seed=0, shard=4, tokens=None):
        made, labels = clustered_tokens(n, seed)
        ids = [f"{split}/{number:03d}.png" for number in range(n)]
        write_store(folder / split, made if tokens is None else tokens, labels, ids, GRID, SPEC, shard=shard)

    return write


@pytest.fixture
def features(tmp_path, write_split):
    """Train and validation features; there is no test split."""
    write_split(tmp_path / "features", "train", 21, seed=1)
    write_split(tmp_path / "features", "validation", 9, seed=2)
    return tmp_path / "features"
