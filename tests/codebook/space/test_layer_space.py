"""The space of several layers: worked by hand, against composed vectors, and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace, fit_layer_space
from protoquant.core.errors import ArtifactError, DataError, ShapeError
from protoquant.features.tokens import LayeredTokens, upsampled
from tests.builders.tokens import units

CPU = torch.device("cpu")
FINE, COARSE = (4, 6), (2, 3)


def layered(n: int = 5, seed: int = 0) -> LayeredTokens:
    generator = torch.Generator().manual_seed(seed)
    maps = (torch.randn(n, 24, 4, generator=generator) + 1.0, 9 * torch.randn(n, 6, 5, generator=generator) - 2.0)
    return LayeredTokens(maps, (FINE, COARSE), ("stage", "last"))


def fitted(tokens: LayeredTokens, weights: tuple[float, ...] = (2.0, 1.0)) -> LayerSpace:
    return fit_layer_space(lambda: [tokens[:2], tokens[2:]], weights, CPU)


def composed(tokens: LayeredTokens, weights: tuple[float, float]) -> torch.Tensor:
    """The rule in float64, step by step: unit, centred, unit; upsampled; weighted; centred, unit."""
    parts = []
    for part, grid, weight in zip(tokens.maps, tokens.grids, weights, strict=True):
        direction = torch.nn.functional.normalize(part.double(), dim=-1)
        centred = torch.nn.functional.normalize(direction - direction.mean(dim=(0, 1)), dim=-1)
        maps = centred.reshape(len(part), *grid, -1).permute(0, 3, 1, 2)
        fine = torch.nn.functional.interpolate(maps, size=FINE, mode="bilinear", align_corners=False)
        parts.append(weight * fine.permute(0, 2, 3, 1).flatten(1, 2))
    whole = torch.cat(parts, dim=-1)
    return torch.nn.functional.normalize(whole - whole.mean(dim=(0, 1)), dim=-1)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 1.0), (0.5, 3.0)])
def test_vectors_are_made_by_the_rule(weights) -> None:
    tokens = layered()
    assert torch.allclose(fitted(tokens, weights).units(tokens).double(), composed(tokens, weights), atol=1e-6)


def test_the_earliest_layer_is_compared_alone() -> None:
    tokens, codes = layered(), units(7, 9, 1)
    direction = torch.nn.functional.normalize(tokens.maps[0].double(), dim=-1)
    centred = torch.nn.functional.normalize(direction - direction.mean(dim=(0, 1)), dim=-1)
    expected = centred @ torch.nn.functional.normalize(codes[:, :4].double(), dim=1).T
    assert torch.allclose(fitted(tokens).earliest(tokens, codes).double(), expected, atol=1e-6)


@given(st.integers(0, 1_000), st.floats(0.1, 8.0))
def test_cosines_from_the_layers_are_those_of_the_composed_vectors(seed, weight) -> None:
    tokens, codes = layered(seed=seed), units(7, 9, seed)
    space = fitted(tokens, (weight, 1.0))
    expected = space.units(tokens) @ codes.T
    assert torch.allclose(space.cosines(tokens, codes), expected, atol=1e-5)
    assert torch.allclose(space.traced_cosines(tokens, codes), expected, atol=1e-5)


def test_a_weight_enters_a_cosine_squared() -> None:
    """Two cells that agree in the coarse layer alone, in a space that is not centred."""
    plain = tuple(FeatureNorm("center_l2", torch.zeros(2)) for _ in range(2))
    maps = (torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]))
    tokens = LayeredTokens(maps, ((1, 1), (1, 1)), ("stage", "last"))
    space = LayerSpace(("stage", "last"), plain, ((1, 1), (1, 1)), (3.0, 1.0), torch.zeros(4))
    one, other = space.units(tokens)[:, 0]
    assert float(one @ other) == pytest.approx(1 / (1 + 3**2))


def test_gradients_of_the_codes_are_those_of_the_composed_vectors() -> None:
    tokens, start = layered(), units(3, 9)
    space = fitted(tokens)
    slopes = []
    for cosines in (lambda codes: space.cosines(tokens, codes), lambda codes: space.units(tokens) @ codes.T):
        codes = start.clone().requires_grad_()
        cosines(codes).amax(dim=1).square().sum().backward()
        slopes.append(codes.grad)
    assert torch.allclose(*slopes, atol=1e-5)


def test_a_cell_without_any_direction_is_zero_in_both_ways() -> None:
    tokens = layered()
    for part in tokens.maps:
        part[1] = 0.0
    space = fitted(tokens)
    assert not space.units(tokens)[1].any()
    assert not space.cosines(tokens, units(3, 9))[1].any()
    assert space.cosines(tokens, units(3, 9))[0].any()


def test_batches_do_not_decide_the_space() -> None:
    tokens = layered()
    one, other = fitted(tokens), fit_layer_space(lambda: [tokens], (2.0, 1.0), CPU)
    assert torch.allclose(one.center, other.center, atol=1e-7)


def test_nan_and_other_layers_are_refused() -> None:
    space, tokens = fitted(layered()), layered()
    tokens.maps[0][0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        space.cosines(tokens, units(3, 9))
    with pytest.raises(ShapeError, match=r"needs layers of \[\(24, 4\), \(6, 5\)\] cells and numbers in each, got"):
        space.units(layered().maps[0])


def test_a_codebook_of_layers_is_written_and_read_back(tmp_path) -> None:
    tokens = layered()
    codebook = Codebook(units(3, 9), fitted(tokens))
    assert codebook.layer_names == ("stage", "last")
    again = Codebook.from_tensors(codebook.tensors(), codebook.feature_norm, layers=codebook.layers)
    assert torch.equal(again.similarity(tokens), codebook.similarity(tokens))
    assert (
        again.layers
        == codebook.layers
        == [
            {"name": "stage", "grid": [4, 6], "d": 4, "weight": 2.0},
            {"name": "last", "grid": [2, 3], "d": 5, "weight": 1.0},
        ]
    )
    for layers, tensors in (([{"name": "stage"}], codebook.tensors()), (codebook.layers[:1], codebook.tensors())):
        with pytest.raises(ArtifactError, match="run quantize again"):
            Codebook.from_tensors(tensors, "center_l2", layers=layers)


def test_the_weights_of_the_mean_are_those_of_the_fine_cells() -> None:
    """The mean over fine cells, found from sums over coarse ones, is that of the upsampled vectors."""
    tokens = layered()
    space = fitted(tokens)
    parts = [
        weight * upsampled(norm.units(part), grid, FINE)
        for norm, part, grid, weight in zip(space.norms, tokens.maps, space.grids, space.weights, strict=True)
    ]
    assert torch.allclose(space.center, torch.cat(parts, dim=-1).mean(dim=(0, 1)), atol=1e-6)
    assert math.isclose(float(torch.linalg.vector_norm(space.units(tokens)[0, 0])), 1.0, abs_tol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_a_massive_number_in_every_token_is_centred_away(spread) -> None:
    """A vision transformer may give one dimension a thousand times the others: directions are those of the rest."""
    generator = torch.Generator().manual_seed(0)
    rest = torch.randn(40, 24, 16, generator=generator)
    massive = 1_000.0 * (1 + spread * torch.randn(40, 24, 1, generator=generator))
    maps = (torch.cat([massive, rest], dim=-1), torch.randn(40, 6, 5, generator=generator))
    space = fit_layer_space(lambda: [LayeredTokens(maps, (FINE, COARSE), ("stage", "last"))], (2.0, 1.0), CPU)
    found = space.norms[0].units(maps[0])
    expected = torch.nn.functional.normalize(rest - rest.mean(dim=(0, 1)), dim=-1)
    assert float((found[..., 1:] * expected).sum(dim=-1).min()) > 0.98
    assert float(found[..., 0].square().max()) < 0.02


def test_massive_numbers_in_a_few_tokens_leave_the_other_cells_as_they_are() -> None:
    tokens = LayeredTokens((layered(200).maps[0],) * 2, (FINE, FINE), ("early", "last"))
    struck = tokens.maps[0].clone()
    struck[::50, 3, 2] = 1_000.0
    before, after = (
        fitted(one).units(one) for one in (tokens, LayeredTokens((struck, tokens.maps[1]), tokens.grids, tokens.names))
    )
    cosines = (before * after).sum(dim=-1)
    assert float(cosines[::50, 3].min()) < 0.9
    cosines[::50, 3] = 1.0
    assert float(cosines.min()) > 0.999
