import pytest
import torch

from tests.builders.tokens import clustered, write_split

# As those that a head gets, but of unequal length.
DIRECTIONS = torch.randn(8, 16, generator=torch.Generator().manual_seed(99))


@pytest.fixture
def write():
    def written(folder, split, n, *, seed=0, shard=4, tokens=None):
        made, labels = clustered(n, seed, DIRECTIONS, noise=0.25)
        return write_split(folder / split, made if tokens is None else tokens, labels, shard=shard)

    return written


@pytest.fixture
def features(tmp_path, write):
    """Train and validation features; there is no test split."""
    write(tmp_path / "features", "train", 21, seed=1)
    write(tmp_path / "features", "validation", 9, seed=2)
    return tmp_path / "features"
