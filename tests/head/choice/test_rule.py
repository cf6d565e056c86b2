import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from protoquant.core.errors import DataError
from protoquant.head.choice.rule import (
    SCALES,
    calibrated_losses,
    fitted_scales,
    log_losses,
    one_standard_error,
    paired_differences,
    smoothed,
    within_tolerance,
)


def logits_of(seed: int, m: int, n: int, c: int):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(c, (n,), generator=generator)
    logits = torch.randn(m, n, c, generator=generator, dtype=torch.float64)
    logits[:, torch.arange(n), labels] += 1.0
    return logits, labels


def test_log_losses_are_those_of_torch() -> None:
    logits, labels = logits_of(0, 3, 20, 4)
    found = log_losses(logits, labels)
    for one, expected in zip(found, logits, strict=True):
        torch.testing.assert_close(one, torch.nn.functional.cross_entropy(expected, labels, reduction="none"))


@given(st.integers(0, 10_000), st.floats(0.3, 4.0))
def test_the_scale_is_where_scipy_finds_the_least_loss(seed: int, stretch: float) -> None:
    logits, labels = logits_of(seed, 1, 60, 3)
    logits = logits * stretch

    def loss(logarithm: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits[0] * math.exp(logarithm), labels))

    bounds = tuple(math.log(bound) for bound in SCALES)
    expected = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    found = float(fitted_scales(logits, labels).log())
    assert loss(found) <= expected.fun + 1e-9
    assert found == pytest.approx(expected.x, abs=1e-3)


def test_scales_end_at_their_bounds() -> None:
    labels = torch.tensor([0, 1])
    right = torch.eye(2, dtype=torch.float64)[labels]
    found = fitted_scales(torch.stack([right, 1 - right]), labels)
    torch.testing.assert_close(found, torch.tensor([16.0, 1 / 16], dtype=torch.float64))


def test_a_label_never_scales_its_own_logits() -> None:
    """Whatever the labels of a fold, the factor of its logits stays: the losses of the other label follow from it."""
    logits, labels = logits_of(5, 2, 30, 3)
    fold_of = torch.arange(30) % 3
    before = calibrated_losses(logits, labels, fold_of)
    changed = torch.where(fold_of == 1, (labels + 1) % 3, labels)
    after = calibrated_losses(logits, changed, fold_of)
    here = fold_of == 1
    scales = fitted_scales(logits[:, ~here], labels[~here])
    torch.testing.assert_close(before[:, here], log_losses(logits[:, here] * scales[:, None, None], labels[here]))
    torch.testing.assert_close(after[:, here], log_losses(logits[:, here] * scales[:, None, None], changed[here]))
    assert not torch.allclose(before[:, ~here], after[:, ~here])


def test_the_smallest_head_within_one_standard_error_by_hand() -> None:
    """Differences from the best, candidate 2: candidate 0 by (0.4, 0, 0.4, 0), 1 by (0.3, -0.1, 0.1, -0.1)."""
    best = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    losses = torch.stack([best + torch.tensor([0.4, 0, 0.4, 0]), best + torch.tensor([0.3, -0.1, 0.1, -0.1]), best])
    found = one_standard_error(losses, torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, dtype=torch.bool))
    assert found.best == 2
    assert found.differences.tolist() == pytest.approx([0.2, 0.05, 0.0])
    # Variances with n - 1: (4 * 0.2 ** 2) / 3 and (0.25 ** 2 + 0.05 ** 2 + 2 * 0.15 ** 2) / 3.
    assert found.errors.tolist() == pytest.approx([(0.16 / 3 / 4) ** 0.5, (0.11 / 3 / 4) ** 0.5, 0.0])
    assert found.place == 1  # 0.2 is above 0.1155, 0.05 is below 0.0957


@pytest.mark.parametrize(
    ("means", "sizes", "allowed", "place", "best"),
    [
        pytest.param([0.5, 0.5], [3, 3], [1, 1], 0, 0, id="the first of equals"),
        pytest.param([0.5, 0.4], [3, 3], [1, 1], 1, 1, id="of one size, the least loss"),
        pytest.param([0.3, 0.4], [3, 5], [0, 1], 1, 1, id="what is not allowed is not the best"),
        pytest.param([0.4, 0.4], [5, 3], [1, 1], 1, 0, id="order does not matter"),
    ],
)
def test_rule_without_noise(means, sizes, allowed, place, best) -> None:
    losses = torch.tensor(means, dtype=torch.float64)[:, None].expand(2, 4)
    found = one_standard_error(losses, torch.tensor(sizes), torch.tensor(allowed).bool())
    assert (found.place, found.best) == (place, best)


def test_pairing_forgives_noise_that_heads_share() -> None:
    """Two heads that err on the same images differ surely, however hard the images are."""
    generator = torch.Generator().manual_seed(0)
    hard = 5 * torch.rand(50, generator=generator, dtype=torch.float64)
    losses = torch.stack([hard + 0.1 + 0.01 * torch.rand(50, generator=generator, dtype=torch.float64), hard])
    found = one_standard_error(losses, torch.tensor([1.0, 2.0]), torch.ones(2, dtype=torch.bool))
    assert found.place == 1
    unpaired = float((losses.var(dim=1).sum() / 50) ** 0.5)
    assert float(found.differences[0]) < unpaired  # which would have taken the smaller one


def test_nothing_allowed() -> None:
    with pytest.raises(DataError, match=r"no head may be taken.*train\.max_class_size"):
        one_standard_error(torch.zeros(2, 3), torch.ones(2), torch.zeros(2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("accuracies", "tolerance", "place"),
    [
        ([0.80, 0.89, 0.90], 0.01, 1),
        ([0.80, 0.89, 0.90], 0.0, 2),
        ([0.80, 0.89, 0.90], 1.0, 0),
        ([267 / 300, 270 / 300, 0.0], 0.01, 0),
    ],
)
def test_the_smallest_head_within_a_tolerance(accuracies, tolerance, place) -> None:
    losses, sizes = torch.rand(3, 4, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    right = torch.tensor(accuracies, dtype=torch.float64)
    found = within_tolerance(losses, right, sizes, torch.ones(3, dtype=torch.bool), tolerance)
    assert found.place == place
    torch.testing.assert_close(found.differences, paired_differences(losses, found.best)[0])


def test_smoothing_shrinks_its_window_on_both_sides_towards_an_end() -> None:
    values = torch.tensor([9.0, 5.0, 4.0, 3.0, 2.0, 7.0])
    assert smoothed(values, 5).tolist() == pytest.approx([9.0, 6.0, 4.6, 4.2, 4.0, 7.0])
    line = torch.arange(7, dtype=torch.float64)
    torch.testing.assert_close(smoothed(line, 5), line)  # a slope is not bent
    assert smoothed(torch.tensor([3.0]), 5).tolist() == [3.0]
