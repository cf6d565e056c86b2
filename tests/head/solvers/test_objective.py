import math

import pytest
import torch

from protoquant.head.solvers.objective import cross_entropy, objective_logits


def test_log_objective_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(objective_logits(logits, "log").exp(), torch.tensor([[1.0, 2.0, 10.0]]).double())
    assert torch.equal(objective_logits(logits, "plain"), logits)


def test_loss_and_error_by_hand() -> None:
    # ln(z^2 + 1) = ln 1, ln 4, so the probabilities are 1/5 and 4/5; dx/dz = 0 and 2 sqrt(3) / 4.
    logits = torch.tensor([[0.0, math.sqrt(3.0)]], dtype=torch.float64)
    targets = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    found = cross_entropy(logits, targets, "log")
    assert found.value == pytest.approx(0.25 * math.log(5) + 0.75 * math.log(5 / 4), abs=1e-14)
    expected = torch.tensor([[0.0, (0.8 - 0.75) * math.sqrt(3) / 2]], dtype=torch.float64)
    torch.testing.assert_close(found.error, expected)


@pytest.mark.parametrize("objective", ["plain", "log"])
def test_is_what_autograd_says(objective) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.rand(7, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    targets = torch.softmax(torch.randn(7, 4, generator=generator, dtype=torch.float64), dim=1)
    loss = torch.nn.functional.cross_entropy(objective_logits(logits, objective), targets)
    loss.backward()
    found = cross_entropy(logits.detach(), targets, objective)
    assert found.value == pytest.approx(float(loss.detach()), abs=1e-14)
    torch.testing.assert_close(found.error, logits.grad)


def test_log_keeps_the_order_of_logits() -> None:
    logits = 5 * torch.rand(50, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(objective_logits(logits, "log").argsort(dim=1), logits.argsort(dim=1))


def test_large_logits_stay_finite() -> None:
    found = cross_entropy(torch.tensor([[0.0, 200.0]]), torch.tensor([[1.0, 0.0]]), "plain")
    assert found.value == pytest.approx(200.0)
    assert found.error.isfinite().all()
