import math

import pytest
import torch

from protoquant.codebook.learners.balance import balance_loss


def test_uniform_use_costs_nothing():
    assert float(balance_loss(torch.eye(5, dtype=torch.float64), 0.01)) == pytest.approx(0.0, abs=1e-12)
    assert float(balance_loss(torch.full((3, 7), 0.4, dtype=torch.float64), 0.1)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_one_code_for_all_costs_ln_k(temperature):
    one = torch.tensor([[1.0, -1.0, -1.0, -1.0]], dtype=torch.float64).repeat(6, 1)
    assert float(balance_loss(one, temperature)) == pytest.approx(math.log(4), abs=1e-9)


def test_two_tokens_worked_by_hand():
    """exp of the similarities is 1:3 and 1:1, so the mean assignment is (3/8, 5/8)."""
    similarities = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64)
    expected = math.log(2) + 3 / 8 * math.log(3 / 8) + 5 / 8 * math.log(5 / 8)
    assert float(balance_loss(similarities, 1.0)) == pytest.approx(expected, abs=1e-12)


def test_the_gradient_is_that_of_the_formula_and_pushes_towards_the_unused_code():
    similarities = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    similarities[:, 0] += 1.0
    similarities.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: balance_loss(s, 0.3), (similarities,))
    balance_loss(similarities, 0.3).backward()
    assert bool((similarities.grad.sum(dim=0)[0] > 0) & (similarities.grad.sum(dim=0)[1:] < 0).any())


def test_a_sharp_softmax_keeps_the_gradient_finite():
    similarities = torch.tensor([[1.0, -1.0, 0.0], [0.9, -1.0, 0.0]], requires_grad=True)
    balance_loss(similarities, 1e-3).backward()
    assert bool(similarities.grad.isfinite().all())
