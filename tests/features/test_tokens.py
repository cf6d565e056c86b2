"""Tokens of several layers: their shape, what is picked and joined, and values on a finer grid."""

import pytest
import torch

from protoquant.core.errors import ShapeError
from protoquant.features.tokens import LayeredTokens, joined, pooled, single, slices, upsampled

FINE, COARSE = (4, 6), (2, 3)


def layered(n: int = 3, seed: int = 0) -> LayeredTokens:
    generator = torch.Generator().manual_seed(seed)
    maps = (torch.randn(n, 24, 4, generator=generator), torch.randn(n, 6, 5, generator=generator))
    return LayeredTokens(maps, (FINE, COARSE), ("stage", "last"))


def test_the_shape_is_that_of_the_layers_side_by_side() -> None:
    tokens = layered()
    assert (tokens.shape, len(tokens)) == ((3, 24, 9), 3)
    assert tokens.to(torch.float64).maps[1].dtype == torch.float64


def test_images_are_picked_and_joined_in_every_layer() -> None:
    tokens = layered()
    again = joined([tokens[torch.tensor([2])], tokens[:2]])
    assert isinstance(again, LayeredTokens)
    assert all(
        torch.equal(one, other[torch.tensor([2, 0, 1])]) for one, other in zip(again.maps, tokens.maps, strict=True)
    )
    assert (again.grids, again.names) == (tokens.grids, tokens.names)
    assert joined([tokens.maps[0], tokens.maps[0]]).shape == (6, 24, 4)


def test_pooled_tokens_are_the_means_of_the_layers() -> None:
    tokens = layered()
    means = torch.cat([part.mean(dim=1) for part in tokens.maps], dim=1)
    assert torch.equal(pooled(tokens), means)
    assert torch.equal(pooled(tokens.maps[1].half()), tokens.maps[1].half().float().mean(dim=1))


def test_tokens_of_several_layers_are_not_those_of_one() -> None:
    assert single(layered().maps[0]) is not None
    with pytest.raises(ShapeError, match="tokens of one layer are needed, got those of 2"):
        single(layered())


@pytest.mark.parametrize(("grid", "fine"), [((2, 3), (4, 6)), ((7, 7), (14, 14)), ((1, 2), (3, 4)), ((2, 2), (8, 2))])
def test_upsampling_is_torchs_bilinear_interpolation(grid, fine) -> None:
    values = torch.randn(2, grid[0] * grid[1], 5, generator=torch.Generator().manual_seed(0))
    maps = values.reshape(2, *grid, 5).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(maps, size=fine, mode="bilinear", align_corners=False)
    assert torch.allclose(upsampled(values, grid, fine), expected.permute(0, 2, 3, 1).flatten(1, 2), atol=1e-6)
    assert upsampled(values, grid, grid) is values


def test_upsampling_by_hand_and_its_gradient() -> None:
    """Of two cells in a row, the four finer ones hold all, three quarters, a quarter and none of the first."""
    values = torch.tensor([[[1.0], [0.0]]])
    assert upsampled(values, (1, 2), (1, 4))[0, :, 0].tolist() == [1.0, 0.75, 0.25, 0.0]
    with torch.inference_mode():
        upsampled(values, (1, 2), (1, 8))
    asked = values.clone().requires_grad_()
    upsampled(asked, (1, 2), (1, 8)).sum().backward()
    assert asked.grad is not None
    assert asked.grad.flatten().tolist() == [4.0, 4.0]


def test_the_ranges_of_the_layers_follow_each_other() -> None:
    assert slices([4, 5]) == [slice(0, 4), slice(4, 9)]
