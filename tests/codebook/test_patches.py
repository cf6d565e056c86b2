import torch

from protoquant.codebook.patches import read_patches
from protoquant.codebook.space.feature_norm import FeatureNorm
from tests.builders.tokens import clustered

TOKENS, LABELS = clustered(6, 0)


class Source:
    """Remembers which images were read."""

    n, t, d, labels = 6, TOKENS.shape[1], TOKENS.shape[2], LABELS

    def __init__(self):
        self.read = []

    def tokens(self, indices):
        self.read.extend(indices.tolist())
        return TOKENS[indices]


def test_patches_are_unit_vectors_of_their_cells_and_each_image_is_read_once():
    source, norm = Source(), FeatureNorm("l2")
    images, cells = torch.tensor([[3, 0], [3, -1], [5, 3]]), torch.tensor([[1, 2], [4, -1], [0, 1]])
    found = read_patches(source, norm, images, cells)
    assert sorted(source.read) == [0, 3, 5]
    torch.testing.assert_close(found[0, 1], norm.units(TOKENS[0, 2][None])[0])
    torch.testing.assert_close(found[1, 0], norm.units(TOKENS[3, 4][None])[0])
    torch.testing.assert_close(found[0, 0], found[2, 1])
    assert not bool(found[1, 1].any())
