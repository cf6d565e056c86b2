import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import ShapeError
from protoquant.model.head import contributions, head_logits


def test_by_hand() -> None:
    scores = torch.tensor([[0.5, 1.0]])
    head = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    assert head_logits(scores, head).tolist() == [[1.0, 3.5]]
    assert contributions(scores, head, torch.tensor([1])).tolist() == [[0.5, 3.0]]


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 300), st.integers(2, 9))
def test_contributions_sum_to_the_logit(seed: int, n: int, k: int, c: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, k, generator=generator)
    head = 5 * torch.rand(c, k, generator=generator) * (torch.rand(c, k, generator=generator) < 0.1)
    classes = torch.randint(0, c, (n,), generator=generator)
    logits = head_logits(scores, head).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(contributions(scores, head, classes).sum(dim=1), logits, atol=1e-5, rtol=1e-6)


def test_no_prototype_no_logit() -> None:
    assert head_logits(torch.ones(2, 3), torch.zeros(4, 3)).abs().sum() == 0


def test_refuses_other_codes() -> None:
    with pytest.raises(ShapeError, match="scores are of 3 codes, the head is for 4"):
        head_logits(torch.ones(1, 3), torch.ones(2, 4))
    with pytest.raises(ShapeError, match="contributions need"):
        contributions(torch.ones(1, 3), torch.ones(2, 3), torch.tensor([0, 1]))
