from typing import get_args

import pytest
import torch

from protoquant.codebook.config import Drawn
from protoquant.codebook.seeding.draw import drawn_codes


def draw(name, k=300, d=40, seed=0):
    return drawn_codes(name, k, d, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", get_args(Drawn))
def test_the_generator_decides(name):
    codes = draw(name)
    assert (codes.shape, codes.dtype) == ((300, 40), torch.float32)
    assert torch.equal(draw(name), codes)
    assert torch.equal(draw(name, seed=1), codes) == (name == "constant")


def test_orthogonal_has_orthonormal_columns_where_there_are_more_codes_than_dimensions():
    codes = draw("orthogonal")
    assert torch.allclose(codes.T @ codes, torch.eye(40), atol=1e-5)
    assert float(codes.square().sum(dim=1).mean()) == pytest.approx(40 / 300, rel=1e-5)


def test_orthogonal_has_orthonormal_rows_otherwise():
    codes = draw("orthogonal", k=20)
    assert torch.allclose(codes @ codes.T, torch.eye(20), atol=1e-5)


def test_orthogonal_is_signed_like_that_of_torch():
    """A column of a uniform orthogonal matrix has mean 0; QR alone gives its first entries one sign."""
    first = torch.stack([draw("orthogonal", k=4, d=4, seed=seed)[0, 0] for seed in range(400)])
    assert abs(float(first.mean())) < 0.1


def test_uniform_lies_in_one_orthant_at_mean_cosine_three_quarters():
    codes = draw("uniform")
    assert 0.0 <= float(codes.min()) <= float(codes.max()) < 1.0
    units = torch.nn.functional.normalize(codes, dim=1)
    cosines = (units @ units.T)[~torch.eye(300, dtype=torch.bool)]
    assert float(cosines.mean()) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("name", "deviation"), [("normal", 1.0), ("xavier_normal", (2 / 340) ** 0.5), ("xavier_uniform", (2 / 340) ** 0.5)]
)
def test_the_spread_is_that_of_the_scheme(name, deviation):
    codes = draw(name)
    assert float(codes.std()) == pytest.approx(deviation, rel=0.03)
    assert float(codes.mean()) == pytest.approx(0.0, abs=0.05 * deviation)


def test_xavier_uniform_keeps_its_bound():
    bound = (6 / 340) ** 0.5
    assert 0.98 * bound < float(draw("xavier_uniform").abs().max()) <= bound


@pytest.mark.parametrize(("k", "zeros"), [(300, 30), (301, 31), (4, 1)])
def test_sparse_means_a_tenth_of_each_column_zero(k, zeros):
    codes = draw("sparse", k=k)
    assert (codes == 0).sum(dim=0).tolist() == [zeros] * 40
    assert float(codes[codes != 0].std()) == pytest.approx(0.01, rel=0.2)


def test_constant_codes_are_all_alike():
    assert len(torch.unique(draw("constant"), dim=0)) == 1
