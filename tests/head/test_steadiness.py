import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.head.steadiness import order_loss

HEAD = torch.tensor([[2.0, 1.0, 0.5, 0.0], [0.0, 1.0, 1.0, 1.0]])
LABELS = torch.tensor([0])


def surprise(values, order):
    """The discounted loss of one order, written out."""
    ranked = [values[code] for code in order]
    return sum((math.log(sum(map(math.exp, ranked[place:]))) - ranked[place]) / (place + 1) ** 2 for place in range(3))


def test_the_loss_worked_by_hand():
    plain, view = torch.tensor([[0.5, 0.8, 0.2, 0.9]]), torch.tensor([[0.3, 0.9, 0.2, 0.1]])
    first, second = [1.0, 0.8, 0.1, 0.0], [0.6, 0.9, 0.1, 0.0]  # contributions to class 0
    expected = (surprise(first, [1, 0, 2, 3]) + surprise(second, [0, 1, 2, 3])) / 2
    assert float(order_loss(plain, view, HEAD, LABELS)) == pytest.approx(expected, abs=1e-6)


def test_it_is_smaller_for_the_same_order_and_for_wide_gaps():
    def loss(plain, view, factor=1.0):
        return float(order_loss(torch.tensor([plain]), torch.tensor([view]), factor * HEAD, LABELS))

    near, swapped, wide = [0.5, 0.8, 0.2, 0.0], [0.5, 1.0, 0.2, 0.0], [0.9, 0.1, 0.1, 0.0]
    assert loss(near, near) < loss(near, swapped)
    assert loss(wide, wide) < loss(near, near)
    assert loss(wide, wide, 10.0) < loss(wide, wide)


def test_the_slope_pulls_towards_the_order_of_the_other_view():
    plain = torch.tensor([[0.5, 0.4, 0.0, 0.0]])  # 1.0 and 0.4
    view = torch.tensor([[0.2, 0.9, 0.0, 0.0]], requires_grad=True)  # 0.4 and 0.9: the other way round
    order_loss(plain, view, HEAD, LABELS).backward()
    assert float(view.grad[0, 0]) < 0


@given(st.integers(0, 30))
def test_it_does_not_matter_which_view_is_plain(seed):
    generator = torch.Generator().manual_seed(seed)
    plain, view = (torch.rand(5, 12, generator=generator) for _ in range(2))
    head, labels = torch.rand(3, 12, generator=generator), torch.randint(3, (5,), generator=generator)
    torch.testing.assert_close(order_loss(plain, view, head, labels), order_loss(view, plain, head, labels))
