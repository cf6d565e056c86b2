"""The oracle is torch's own loop: zero_grad, backward, step."""

import itertools

import pytest
import torch

from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.errors import DataError

BATCHES = [torch.tensor([2, 0]), torch.tensor([1])]
FEATURES = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0]])


def still(step):
    return 0.1


def halving(step):
    return 0.2 * 0.5**step


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, size, generator=generator).requires_grad_() for size in (3, 1)]


def loss_of(first, second, images):
    return ((FEATURES[images] @ first).square().sum(dim=1) - FEATURES[images] @ second[:, 0]).exp().mean()


@pytest.mark.parametrize(("optimizer", "weight_decay"), [("adam", 0.0), ("adam", 0.3), ("adamw", 0.3)])
def test_every_bit_is_that_of_the_optimizer_of_torch(optimizer, weight_decay):
    moved = parameters()
    descent = Descent(optimizer, moved, [still, halving], weight_decay=weight_decay)
    expected = parameters()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    oracle = kind([{"params": [one]} for one in expected], weight_decay=weight_decay)
    steps = itertools.count()
    for epoch in (1, 2, 3):
        descent.epoch(epoch, BATCHES, lambda batch: Slope(torch.autograd.grad(loss_of(*moved, batch.images), moved)))
        for images in BATCHES:
            step = next(steps)
            oracle.param_groups[0]["lr"], oracle.param_groups[1]["lr"] = 0.1, 0.2 * 0.5**step
            oracle.zero_grad()
            loss_of(*expected, images).backward()
            oracle.step()
        assert all(map(torch.equal, moved, expected))
        assert descent.rates == [0.1, 0.2 * 0.5**step]
    assert descent.steps == 6
    assert not torch.equal(moved[0], parameters()[0])


def test_batches_are_counted_and_their_shares_added_in_order():
    moved = torch.zeros(2)
    seen = []

    def slope(batch: Batch) -> Slope:
        seen.append((batch.epoch, batch.number, batch.images.tolist()))
        return Slope([torch.ones(2)], {"loss": 0.1 * batch.number, "images": len(batch.images)})

    sums = Descent("adam", [moved], [still]).epoch(7, [*BATCHES, torch.tensor([3])], slope)
    assert seen == [(7, 1, [2, 0]), (7, 2, [1]), (7, 3, [3])]
    assert sums == {"loss": 0.1 + 0.2 + 0.1 * 3, "images": 4}  # to the last bit: 0.6 is another number
    torch.testing.assert_close(moved, torch.full((2,), -0.3))  # Adam's steps along a constant slope


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_refused_before_anything_moves(value):
    moved = torch.zeros(2)
    descent = Descent("adam", [moved], [still])

    def slope(batch: Batch) -> Slope:
        batch.require_finite(value if batch.number == 2 else 1e300, subject="the loss is", remedy="; lower lr")
        return Slope([torch.ones(2)])

    with pytest.raises(DataError, match=rf"^the loss is {value} in epoch 4, batch 2; lower lr$"):
        descent.epoch(4, BATCHES, slope)
    assert descent.steps == 1
    torch.testing.assert_close(moved, torch.full((2,), -0.1))


def test_what_is_forgotten_does_not_drift_on():
    moved = torch.zeros(3, 2)
    descent = Descent("adam", [moved], [still])
    descent.epoch(1, BATCHES, lambda batch: Slope([torch.ones(3, 2)]))
    before = moved.clone()
    descent.forget(moved, torch.tensor([1]))
    descent.epoch(2, BATCHES, lambda batch: Slope([torch.zeros(3, 2)]))
    assert torch.equal(moved[1], before[1])
    assert bool((moved[[0, 2]] < before[[0, 2]]).all())
