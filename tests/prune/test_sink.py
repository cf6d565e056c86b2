import math

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.model.presence import presence
from protoquant.prune.sink import distil

TEMPERATURE = 0.05


def around(centre: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    noise = 0.1 * torch.randn(count, len(centre), generator=generator)
    return torch.nn.functional.normalize(centre + noise)


@pytest.fixture
def case() -> tuple[Codebook, torch.Tensor, torch.Tensor]:
    """Twenty codes around four directions and two of their own, and tokens around all of them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(6, 16, generator=generator))
    codes = torch.cat([*(around(centre, 5, generator) for centre in centres[:4]), centres[4:]])
    tokens = torch.cat([around(centre, 40, generator) for centre in centres])
    tokens = tokens[torch.randperm(240, generator=generator)].reshape(40, 6, 16)
    removed = torch.arange(22) < 20
    removed[[0, 6]] = False
    return Codebook(codes, FeatureNorm("l2")), tokens, removed


def error(codebook: Codebook, tokens: torch.Tensor, removed: torch.Tensor, rest) -> float:
    """Mean error of the scores of the codes that stay."""
    kept = (~removed).nonzero().flatten()
    whole = presence(tokens, codebook, TEMPERATURE).scores[:, kept]
    return float((presence(tokens, codebook.only(kept, rest), TEMPERATURE).scores - whole).abs().mean())


def rest_of(case, count: int):
    codebook, tokens, removed = case
    return distil(codebook, removed, count, tokens=tokens.split(7), temperature=TEMPERATURE, seed=0)


@pytest.mark.parametrize("count", [18, 500])
def test_as_many_rest_codes_as_removed_change_nothing(case, count) -> None:
    rest = rest_of(case, count)
    assert len(rest.codes) == 18
    assert error(*case, rest) < 1e-6


def test_few_rest_codes_are_far_better_than_none_and_than_counting(case) -> None:
    rest = rest_of(case, 4)
    assert len(rest.codes) == 4
    plain = error(*case, None)
    assert error(*case, rest) < 0.25 * plain
    codebook, _, removed = case
    sizes = torch.bincount((codebook.codes[removed] @ rest.codes.T).argmax(dim=1), minlength=4)
    counted = type(rest)(rest.codes, sizes.float().log())
    assert error(*case, rest) < error(*case, counted)


def test_the_share_of_each_cluster_is_kept_over_the_tokens(case) -> None:
    codebook, tokens, removed = case
    rest = rest_of(case, 4)
    scaled = codebook.similarity(tokens) / TEMPERATURE
    total = torch.logsumexp(scaled, dim=-1, keepdim=True)
    of_code = (codebook.codes[removed] @ rest.codes.T).argmax(dim=1)
    shares = (scaled - total).exp()[..., removed].sum(dim=(0, 1))
    stand_in = Codebook(rest.codes, FeatureNorm("l2")).similarity(tokens) / TEMPERATURE + rest.weights
    expected = torch.zeros(4).index_add(0, of_code, shares)
    torch.testing.assert_close((stand_in - total).exp().sum(dim=(0, 1)), expected, rtol=1e-4, atol=1e-6)


def test_identical_codes_weigh_as_their_number() -> None:
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    tokens = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    removed = torch.tensor([False, True, True, True])
    rest = distil(Codebook(codes, FeatureNorm("l2")), removed, 1, tokens=[tokens], temperature=0.2, seed=0)
    torch.testing.assert_close(rest.codes, torch.tensor([[0.0, 1.0]]))
    assert float(rest.weights[0]) == pytest.approx(math.log(3), abs=1e-5)


def test_codes_that_no_token_comes_near_have_a_finite_weight() -> None:
    """Their shares are too small for a number; their rest code then weighs as one code."""
    codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    tokens, removed = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]]), torch.tensor([False, True, True])
    rest = distil(Codebook(codes, FeatureNorm("l2")), removed, 1, tokens=[tokens], temperature=0.001, seed=0)
    assert rest.weights.tolist() == [0.0]


def test_nothing_removed_needs_no_rest(case) -> None:
    codebook, tokens, removed = case
    assert distil(codebook, ~removed & removed, 3, tokens=[tokens], temperature=0.1, seed=0) is None
