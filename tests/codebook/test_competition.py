import math

import pytest
import torch

from protoquant.codebook.competition import (
    competition,
    log_competition,
    log_total,
    pooled,
    pooled_softmax,
    pooled_with_cells,
    rest_total,
    share_instead,
    share_of,
)

T = 0.1


def cosines(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_shares_sum_to_one_over_codes() -> None:
    similarity = cosines(3, 5, 7)
    for temperature in (0.001, 0.05, 10.0):
        shares = competition(similarity, temperature)
        torch.testing.assert_close(shares.sum(dim=-1), torch.ones(3, 5))
        assert shares.isfinite().all()


def test_lower_temperature_lets_the_winner_take_more() -> None:
    similarity = torch.tensor([[[0.9, 0.8, 0.1]]])
    cold, warm = pooled(competition(similarity, 0.02))[0], pooled(competition(similarity, 0.5))[0]
    assert cold[0] > warm[0]
    assert cold[2] < warm[2]


def test_logs_stay_where_shares_vanish() -> None:
    similarity = torch.tensor([[1.0, -1.0]])
    assert competition(similarity[None], 0.01)[0, 0, 1] == 0.0
    torch.testing.assert_close(log_competition(similarity, 0.01), torch.tensor([[0.0, -200.0]]))


def test_a_rest_code_competes_as_many_codes_as_it_stands_for() -> None:
    """One rest code of weight ln 3 is three codes at its place."""
    similarity, rest = cosines(2, 4, 5), cosines(2, 4, 1, seed=1)
    background = rest_total(rest, T, torch.tensor([math.log(3.0)]))
    whole = competition(torch.cat([similarity, rest.expand(2, 4, 3)], dim=-1), T)
    torch.testing.assert_close(competition(similarity, T, background), whole[..., :5])


@pytest.mark.parametrize("rest", [False, True])
def test_a_share_is_known_from_the_total(*, rest: bool) -> None:
    similarity = cosines(2, 4, 5)
    background = rest_total(cosines(2, 4, 2, seed=1), T, torch.zeros(2)) if rest else None
    total = log_total(similarity, T, background)
    shares = share_of(similarity[..., [3, 0]], T, total)
    torch.testing.assert_close(shares, competition(similarity, T, background)[..., [3, 0]])


@pytest.mark.parametrize("rest", [False, True])
def test_a_vector_in_the_place_of_a_code_has_the_share_that_the_code_would_have(*, rest: bool) -> None:
    similarity, others, codes = cosines(2, 4, 5).double(), cosines(2, 4, 2, 3, seed=2).double(), [4, 1]
    background = rest_total(cosines(2, 4, 2, seed=1).double(), T, torch.zeros(2)) if rest else None
    total = log_total(similarity, T, background)
    found = share_instead(others, T, total, share_of(similarity[..., codes], T, total))
    for row, code in enumerate(codes):
        for slot in range(3):
            replaced = similarity.clone()
            replaced[..., code] = others[..., row, slot]
            expected = competition(replaced, T, background)[..., code]
            torch.testing.assert_close(found[..., row, slot], expected)


def test_a_code_that_has_a_whole_cell_leaves_a_millionth_to_the_others() -> None:
    similarity = torch.tensor([[[1.0, -1.0]]])
    total = log_total(similarity, 0.01)
    found = share_instead(torch.tensor([[[[1.0, -1.0]]]]), 0.01, total, share_of(similarity[..., :1], 0.01, total))
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)


def test_the_largest_share_of_an_image_counts_with_the_first_of_equal_cells() -> None:
    shares = torch.tensor([[[0.2, 0.5], [0.8, 0.5], [0.8, 0.1]]])
    scores, cells = pooled_with_cells(shares)
    assert torch.equal(scores, torch.tensor([[0.8, 0.5]]))
    assert torch.equal(pooled(shares), scores)
    assert cells.tolist() == [[1, 0]]


def test_equal_cells_share_the_gradient() -> None:
    shares = torch.tensor([[[0.8], [0.1], [0.8]]], requires_grad=True)
    pooled(shares).sum().backward()
    assert shares.grad.flatten().tolist() == [0.5, 0.0, 0.5]


def test_the_presence_for_training_and_its_derivative_are_those_of_the_competition() -> None:
    generator = torch.Generator().manual_seed(0)
    scaled = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    wanted = pooled(competition(scaled, 1.0))
    assert torch.equal(pooled_softmax(scaled), wanted)
    weights = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), scaled)
    (found,) = torch.autograd.grad((pooled_softmax(scaled) * weights).sum(), scaled)
    assert torch.allclose(found, expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(pooled_softmax, scaled)


def test_of_equal_cells_the_first_has_the_derivative() -> None:
    scaled = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], requires_grad=True)
    (found,) = torch.autograd.grad(pooled_softmax(scaled)[0, 0], scaled)
    assert (found[0, 0] != 0).all()
    assert (found[0, 1] == 0).all()
