import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.task.targets import mixup, smooth


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_smoothing_worked_by_hand():
    found = smooth(torch.tensor([2, 0]), 4, 0.2)
    assert torch.allclose(found, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))
    assert torch.equal(smooth(torch.tensor([1, 0]), 2, 0.0), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_smoothed_cross_entropy_is_torchs():
    logits, labels = torch.randn(7, 5, generator=generator()), torch.arange(7) % 5
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.allclose(torch.nn.functional.cross_entropy(logits, smooth(labels, 5, 0.1)), expected)


@given(st.integers(1, 9), st.sampled_from([0.1, 0.8, 4.0]), st.integers(0, 1_000))
def test_tokens_and_labels_of_a_batch_of_any_size_are_mixed_alike(n, alpha, seed):
    """One-hot tokens show which images a row was mixed from, and how much of each."""
    values = torch.eye(n, dtype=torch.float64)[:, None, :].repeat(1, 3, 1)
    targets = torch.eye(n, dtype=torch.float64)
    mixed = mixup(values, targets, alpha, generator(seed))
    assert 0.0 <= mixed.share <= 1.0
    assert torch.equal(mixed.values, mixed.targets[:, None, :].repeat(1, 3, 1))
    if mixed.share < 0.999:
        others = (mixed.targets - mixed.share * torch.eye(n, dtype=torch.float64)) / (1 - mixed.share)
        assert torch.allclose(others.sum(dim=0), torch.ones(n, dtype=torch.float64), atol=1e-6)
        assert torch.allclose(others.max(dim=1).values, torch.ones(n, dtype=torch.float64), atol=1e-6)


def test_without_alpha_nothing_changes_and_nothing_is_drawn():
    draws, values, targets = generator(), torch.randn(3, 2), torch.eye(3)
    mixed = mixup(values, targets, 0.0, draws)
    assert mixed.values is values
    assert mixed.targets is targets
    assert torch.equal(draws.get_state(), generator().get_state())


def test_the_inputs_are_not_written_to_and_the_seed_decides():
    values, targets = torch.randn(5, 2, 3), torch.eye(5)
    before = values.clone(), targets.clone()
    one, again, other = (mixup(values, targets, 0.8, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(values, before[0])
    assert torch.equal(targets, before[1])
    assert torch.equal(one.values, again.values)
    assert not torch.equal(one.values, other.values)


@pytest.mark.parametrize(("alpha", "expected"), [(0.8, 1 / (4 * (2 * 0.8 + 1))), (3.0, 1 / (4 * 7))])
def test_the_share_follows_the_beta_distribution(alpha, expected):
    draws = generator()
    shares = torch.tensor([mixup(torch.zeros(1, 1), torch.zeros(1, 1), alpha, draws).share for _ in range(3000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(expected, rel=0.1)
