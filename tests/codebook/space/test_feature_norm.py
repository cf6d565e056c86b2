from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.config import FeatureNormName
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.core.errors import ArtifactError, DataError, ShapeError

CPU = torch.device("cpu")


def test_l2_keeps_the_direction_worked_by_hand():
    units = FeatureNorm("l2").apply(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    assert torch.allclose(units, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))


def test_center_l2_takes_the_mean_direction_away_worked_by_hand():
    norm = fit_feature_norm("center_l2", [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 7.0]])], CPU)
    assert torch.allclose(norm.mean, torch.tensor([0.5, 0.5]))
    expected = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / 2**0.5
    assert torch.allclose(norm.apply(torch.tensor([[5.0, 0.0], [0.0, 0.1]])), expected)


def test_a_zero_token_stays_zero_after_centring():
    norm = FeatureNorm("center_l2", torch.tensor([0.5, 0.5]))
    assert norm.apply(torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]


def test_float16_is_computed_in_float32_without_overflow():
    units = FeatureNorm("l2").apply(torch.full((1, 1280), 60_000.0, dtype=torch.float16))
    assert units.dtype == torch.float32
    assert torch.linalg.vector_norm(units) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_an_error(bad):
    with pytest.raises(DataError, match="NaN or infinity"):
        FeatureNorm("l2").apply(torch.tensor([[1.0, 2.0], [1.0, bad]]))


@pytest.mark.parametrize(
    ("name", "parts", "text"),
    [
        ("l2", (torch.zeros(2),), "feature_norm l2 takes no tensor, got mean"),
        ("center_l2", (), "feature_norm center_l2 takes mean, got none"),
        ("whiten", (torch.zeros(2), torch.eye(2)), "whiten takes mean and matrix and inverse, got mean and matrix"),
    ],
)
def test_each_map_takes_its_own_tensors(name, parts, text):
    with pytest.raises(ShapeError, match=text):
        FeatureNorm(name, *parts)


NAMES = get_args(FeatureNormName)


def tokens_of(n=200, d=6, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator)
    return (torch.randn(n, d, generator=generator) @ mixing + torch.arange(d)).to(dtype)


def fitted(name, tokens=None):
    return fit_feature_norm(name, (tokens_of() if tokens is None else tokens).split(37), CPU)


def test_none_leaves_tokens_and_layernorm_is_worked_by_hand():
    tokens = torch.tensor([[1.0, 3.0], [-4.0, -4.0]])
    assert torch.equal(FeatureNorm("none").apply(tokens), tokens)
    assert torch.allclose(FeatureNorm("layernorm").apply(tokens), torch.tensor([[-1.0, 1.0], [0.0, 0.0]]), atol=1e-6)


def test_layernorm_is_that_of_torch():
    tokens = tokens_of()
    expected = torch.nn.functional.layer_norm(tokens, (6,), eps=1e-6)
    assert torch.allclose(FeatureNorm("layernorm").apply(tokens), expected, atol=1e-5)


def test_whiten_is_the_inverse_root_of_the_shrunk_covariance():
    tokens, norm = tokens_of(), fitted("whiten")
    covariance = np.cov(tokens.double().numpy(), rowvar=False, bias=True)
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6)
    matrix = norm.matrix.double().numpy()
    assert np.allclose(matrix @ shrunk @ matrix, np.eye(6), atol=1e-4)
    assert torch.allclose(norm.matrix, norm.matrix.T, atol=1e-6)
    assert torch.allclose(norm.apply(tokens).mean(dim=0), torch.zeros(6), atol=1e-4)


def test_whitened_tokens_vary_more_alike():
    def spread(tokens):
        values = torch.linalg.eigvalsh(torch.cov(tokens.T))
        return float(values[-1] / values[0])

    tokens = tokens_of()
    assert spread(fitted("whiten").apply(tokens)) < 0.1 * spread(tokens)


def test_whiten_loses_no_digits_far_from_zero_and_holds_with_fewer_tokens_than_dimensions():
    near, far = fitted("whiten"), fitted("whiten", tokens_of(dtype=torch.float64) + 1e6)
    assert torch.allclose(near.matrix, far.matrix, rtol=1e-3, atol=1e-5)
    few = fitted("whiten", tokens_of(n=3, d=20))
    deviations = torch.linalg.eigvalsh(few.matrix)
    assert bool(few.matrix.isfinite().all())
    assert float(deviations[-1] / deviations[0]) < (20 / 0.1) ** 0.5


def test_whiten_of_equal_tokens_is_an_error():
    with pytest.raises(DataError, match="tokens that differ"):
        fitted("whiten", torch.ones(9, 4))


@pytest.mark.parametrize("name", NAMES)
def test_the_cut_into_batches_changes_rounding_alone(name):
    tokens = tokens_of()
    one, other = fit_feature_norm(name, tokens.split(7), CPU), fit_feature_norm(name, [tokens], CPU)
    assert torch.allclose(one.apply(tokens), other.apply(tokens), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 10_000), st.sampled_from([1e-2, 1.0, 1e3]))
def test_undo_gives_the_token_back(name, seed, scale):
    norm, tokens = fitted(name), scale * tokens_of(5, seed=seed, dtype=torch.float64)
    tokens[2] = 0.0
    # Relative to the whole token: the two float32 matrices of whiten mix its numbers, small ones with large ones.
    error = torch.linalg.vector_norm(norm.undo(norm.apply(tokens), tokens) - tokens, dim=1)
    assert (error <= 1e-6 * torch.linalg.vector_norm(tokens, dim=1) + 1e-4 * min(scale, 1.0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_vectors_and_types_stay(name):
    norm, tokens = fitted(name), tokens_of(4, dtype=torch.float64)
    vectors = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    assert torch.autograd.gradcheck(lambda moved: norm.undo(moved, tokens), vectors)
    assert norm.apply(tokens).dtype == torch.float64
    assert norm.apply(tokens.half()).dtype == norm.units(tokens.half()).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_units_are_the_directions_and_zero_tokens_stay_zero(name):
    norm, tokens = fitted(name), tokens_of(5)
    tokens[2] = 0.0
    units, rest = norm.units(tokens), torch.tensor([0, 1, 3, 4])
    assert torch.equal(units[2], torch.zeros(6))
    assert torch.allclose(units[rest], torch.nn.functional.normalize(norm.apply(tokens[rest]), dim=1), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_directions_are_the_units_and_look_at_no_value(name):
    norm, tokens = fitted(name), tokens_of(5)
    tokens[2] = 0.0
    assert torch.equal(norm.directions(tokens), norm.units(tokens))
    tokens[1, 3] = float("nan")
    assert norm.directions(tokens)[1].isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_tensors_give_the_map_back(name):
    norm, tokens = fitted(name), tokens_of()
    again = FeatureNorm.from_tensors(name, norm.tensors(), 6, "a file")
    assert torch.equal(again.apply(tokens), norm.apply(tokens))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_map_takes_a_number_that_is_not_finite(name, bad):
    norm, tokens = fitted(name), tokens_of(2)
    tokens[1, 3] = bad
    with pytest.raises(DataError, match="NaN or infinity"):
        norm.units(tokens)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"norm_matrix": torch.eye(5)}, "norm_matrix must be finite float32 of 6 x 6 numbers"),
        ({"norm_mean": torch.full((6,), torch.nan)}, "norm_mean must be finite float32 of 6 numbers"),
        ({"norm_inverse": torch.eye(6, dtype=torch.float64)}, "norm_inverse must be finite float32"),
        ({"norm_more": torch.eye(6)}, "feature_norm 'whiten' with tensors"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change, text):
    with pytest.raises(ArtifactError, match=text):
        FeatureNorm.from_tensors("whiten", {**fitted("whiten").tensors(), **change}, 6, "a file")


@pytest.mark.parametrize("name", ["none", "l2", "layernorm", "center_l2", "whiten"])
def test_stretch_is_what_undo_does_to_a_difference(name):
    tokens = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) + 1.0
    tokens[3] = 0.0
    norm = fit_feature_norm(name, [tokens], torch.device("cpu"))
    one, other = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(1))
    difference = norm.stretch(tokens) * (one - other)
    if norm.inverse is not None:
        difference = difference @ norm.inverse
    assert torch.allclose(norm.undo(one, tokens) - norm.undo(other, tokens), difference, atol=1e-5)
