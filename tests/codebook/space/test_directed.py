"""Directions of tokens: kept where they fit, and the same where they do not."""

import pytest
import torch

from protoquant.codebook.space.directed import DirectedSource
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from tests.builders.tokens import units
from tests.codebook.space.test_layer_space import fitted, layered

CPU = torch.device("cpu")


class Layered:
    """A source of the tokens of several layers."""

    n, t, d, labels = 5, 24, 9, torch.zeros(5, dtype=torch.int64)

    def tokens(self, indices):
        return layered()[indices]


@pytest.mark.parametrize("most", [0, 1 << 20])
def test_projected_directions_are_the_cosines(most) -> None:
    space, codes, images = fitted(layered()), units(3, 9), torch.tensor([4, 0, 4])
    source = DirectedSource(Layered(), space, CPU, most)
    assert source.size == 4 * 5 * (24 + 24 * (4 + 1) + 6 * 5)
    expected = space.cosines(layered()[images], codes)
    assert torch.allclose(space.project(source.of(images), codes), expected, atol=1e-6)


def test_of_one_layer_they_are_its_unit_vectors() -> None:
    values = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(0))
    norm, codes = FeatureNorm("l2"), units(3, 9)
    kept = DirectedSource(TensorSource(values, torch.zeros(4)), norm, CPU, 1 << 20)
    images = torch.tensor([3, 1])
    assert torch.equal(norm.project(kept.of(images), codes), norm.cosines(values[images], codes))
