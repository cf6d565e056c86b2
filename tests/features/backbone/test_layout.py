"""The grid of a sequence of tokens: stated and fitting, or proven by the model's own map, or refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from protoquant.core.errors import ConfigError
from protoquant.features.backbone.layout import Layout, read_layout

IMAGES = torch.zeros(2, 3, 32, 48)
TOKENS = torch.arange(2 * 7 * 4, dtype=torch.float32).reshape(2, 7, 4)  # one in front, six patches


class Sequence(nn.Module):
    """A model that gives a class token and six patch tokens; its grid and its map are what a test says."""

    num_features, num_prefix_tokens = 4, 1

    def __init__(self, stated=None, spatial=None):
        super().__init__()
        self.patch_embed = SimpleNamespace(grid_size=stated)
        self.spatial = spatial

    def forward_features(self, _):
        return TOKENS

    def forward_intermediates(self, _, *, norm, **__):
        return [self.spatial if norm else torch.zeros(2, 4, 1, 1)]


def as_map(rows, cols):
    """The patch tokens as a map, row by row."""
    return TOKENS[:, 1:].mT.reshape(2, 4, rows, cols)


def test_a_stated_grid_that_fits_is_taken():
    assert read_layout(Sequence(stated=(2, 3)), IMAGES, "m") == Layout("NLC", (2, 3), 4, 1)


@pytest.mark.parametrize("stated", [None, (3, 3), (2, 2), (6,)])
def test_a_stated_grid_with_another_number_of_cells_gives_way_to_the_models_own_map(stated):
    assert read_layout(Sequence(stated, as_map(3, 2)), IMAGES, "m").grid == (3, 2)


@pytest.mark.parametrize(
    "spatial", [as_map(2, 3).flip(3), as_map(2, 3)[:, :, :, :2]], ids=["other order", "fewer cells"]
)
def test_a_map_that_is_not_the_tokens_row_by_row_proves_nothing(spatial):
    with pytest.raises(ConfigError, match="m gives 7 tokens, 1 of them prefix tokens, and does not say on which grid"):
        read_layout(Sequence(None, spatial), IMAGES, "m")


def test_a_map_whose_depth_is_not_the_models_is_refused():
    model = Sequence()
    model.forward_features = lambda _: torch.zeros(2, 5, 2, 3)
    with pytest.raises(ConfigError, match=r"m says it has 4 features, its map \(2, 5, 2, 3\) read as NCHW has another"):
        read_layout(model, IMAGES, "m")
