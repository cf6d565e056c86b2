import pytest
import torch

from protoquant.codebook.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.core.errors import DataError, ShapeError

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


@pytest.mark.parametrize(("name", "mean"), [("l2", torch.zeros(2)), ("center_l2", None)])
def test_the_mean_belongs_to_center_l2_alone(name, mean):
    with pytest.raises(ShapeError, match=f"feature_norm {name}"):
        FeatureNorm(name, mean)
