from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import DataError, ShapeError
from protoquant.head.solvers import problem as module
from protoquant.head.solvers.l1_path import largest_penalty, penalty_path, solve_path
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve


def parts(n: int = 23, k: int = 8, c: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % c
    scores = 0.5 * torch.rand(n, k, generator=generator, dtype=torch.float64)
    scores[torch.arange(n), labels] += 0.4
    return scores, labels, torch.softmax(torch.randn(n, c, generator=generator, dtype=torch.float64), dim=1)


@given(block=st.integers(1, 30), soft=st.booleans(), seed=st.integers(0, 100))
def test_blocks_change_no_number(block: int, soft: bool, seed: int) -> None:
    scores, labels, targets = parts(seed=seed)
    given_targets = targets if soft else None
    whole, blocked = (Problem(scores, labels, 3, given_targets, block=size) for size in (0, block))
    weights = torch.rand(3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, expected = blocked.logits(weights), whole.logits(weights)
    assert isinstance(expected, torch.Tensor)
    assert not isinstance(found, torch.Tensor)
    assert blocked.loss(found) == pytest.approx(whole.loss(expected), abs=1e-13)
    torch.testing.assert_close(blocked.gradient(found), whole.gradient(expected))
    direction = weights - 0.5
    assert blocked.curvature(found, direction) == pytest.approx(whole.curvature(expected, direction), abs=1e-13)
    assert blocked.top1(weights) == whole.top1(weights)


@pytest.mark.parametrize("soft", [False, True])
def test_path_is_the_same_in_blocks(soft: bool) -> None:
    scores, labels, targets = parts(n=60)
    whole, blocked = (Problem(scores, labels, 3, targets if soft else None, block=size) for size in (0, 7))
    penalties = penalty_path(largest_penalty(whole), 0.05, 4)
    assert largest_penalty(blocked) == pytest.approx(largest_penalty(whole), abs=1e-13)
    for one, other in zip(
        *(solve_path(problem, penalties, Limits(1e-8, 20_000)) for problem in (whole, blocked)), strict=True
    ):
        assert other.objective == pytest.approx(one.objective, abs=1e-10)
        assert other.gap <= 1e-8
        torch.testing.assert_close(other.weights, one.weights, atol=1e-5, rtol=1e-5)


def test_scores_on_disk_in_half_precision(tmp_path: Path) -> None:
    scores, labels, _ = parts(n=60)
    stored = torch.from_file(str(tmp_path / "scores"), shared=True, size=60 * 8, dtype=torch.float16).view(60, 8)
    stored.copy_(scores)
    disk, memory = Problem(stored, labels, 3, block=7), Problem(stored.float(), labels, 3)
    assert disk.rows(slice(0, 2)).dtype == disk.zeros().dtype == torch.float32
    penalty = 0.1 * largest_penalty(memory)
    found, expected = (solve(given, penalty, Limits(1e-3, 5000), start=given.zeros()) for given in (disk, memory))
    assert found.objective == pytest.approx(expected.objective, abs=1e-5)


def test_columns_of_columns(tmp_path: Path) -> None:
    scores, labels, _ = parts()
    first, second = torch.tensor([5, 2, 7, 0]), torch.tensor([3, 1])
    for block in (0, 4):
        part = Problem(scores, labels, 3, block=block).on(first).on(second)
        assert part.k == 2
        assert torch.equal(part.scores, scores[:, [0, 2]])
        assert part.zeros().shape == (3, 2)


def test_large_problems_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, _ = parts()
    monkeypatch.setattr(module, "WHOLE", 23 * 8 - 1)
    monkeypatch.setattr(module, "BLOCK", 40)
    sizes = [block.stop - block.start for block in Problem(scores, labels, 3).blocks()]
    assert sizes == [5, 5, 5, 5, 3]
    monkeypatch.setattr(module, "WHOLE", 23 * 8)
    assert len(list(Problem(scores, labels, 3).blocks())) == 1


def test_hard_targets_are_the_labels() -> None:
    scores, labels, _ = parts()
    plain, soft = Problem(scores, labels, 3), Problem(scores, labels, 3, torch.eye(3)[labels])
    weights = torch.ones(3, 8, dtype=torch.float64)
    assert soft.loss(soft.logits(weights)) == pytest.approx(plain.loss(plain.logits(weights)))
    torch.testing.assert_close(soft.gradient(soft.logits(weights)), plain.gradient(plain.logits(weights)))


def test_soft_loss_and_gradient_are_those_of_torch() -> None:
    scores, labels, targets = parts()
    problem = Problem(scores, labels, 3, targets)
    weights = torch.rand(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    loss = torch.nn.functional.cross_entropy(scores @ weights.T, targets)
    loss.backward()
    found, gradient = problem.loss_and_gradient(problem.logits(weights.detach()))
    assert found == pytest.approx(float(loss.detach()), abs=1e-13)
    torch.testing.assert_close(gradient, 3 * weights.grad)


@pytest.mark.parametrize("block", [0, 5])
def test_diagonal_is_that_of_the_hessian(block: int) -> None:
    scores, labels, _ = parts()
    problem = Problem(scores, labels, 3, block=block)
    weights = torch.rand(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = problem.diagonal(problem.logits(weights))
    hessian = torch.autograd.functional.hessian(
        lambda flat: torch.nn.functional.cross_entropy(scores @ flat.view(3, 8).T, labels), weights.flatten()
    )
    torch.testing.assert_close(found.flatten(), 3 * hessian.diagonal())


@pytest.mark.parametrize("block", [0, 5])
def test_weights_multiply_the_cross_entropy_of_every_image(block: int) -> None:
    scores, labels, _ = parts()
    counted = torch.linspace(0.2, 1.8, 23, dtype=torch.float64)
    problem = Problem(scores, labels, 3, weights=counted, block=block)
    weights = torch.rand(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        logits = scores @ flat.view(3, 8).T
        return (counted * torch.nn.functional.cross_entropy(logits, labels, reduction="none")).mean()

    logits, flat = problem.logits(weights), weights.flatten()
    assert problem.loss(logits) == pytest.approx(float(loss(flat)), abs=1e-13)
    slope = torch.autograd.functional.jacobian(loss, flat)
    hessian = torch.autograd.functional.hessian(loss, flat)
    torch.testing.assert_close(problem.gradient(logits).flatten(), 3 * slope)
    torch.testing.assert_close(problem.diagonal(logits).flatten(), 3 * hessian.diagonal())
    way = flat - 0.5
    assert problem.curvature(logits, way.view(3, 8)) == pytest.approx(float(way @ hessian @ way), abs=1e-13)
    right = (scores @ weights.T).argmax(dim=1) == labels
    assert problem.accuracy(weights) == pytest.approx(float((counted * right).mean()))
    assert problem.top1(weights) == pytest.approx(float(right.double().mean()))
    assert problem.on(torch.tensor([0, 2])).weights is counted


def test_logits_in_blocks_pass_over_unused_codes() -> None:
    scores, labels, _ = parts()
    problem = Problem(scores, labels, 3, block=5)
    weights = torch.zeros(3, 8, dtype=torch.float64)
    weights[1, 6], weights[2, 3] = 2.0, 0.5
    torch.testing.assert_close(problem.logits(weights)[slice(5, 9)], scores[5:9] @ weights.T)
    assert (problem.logits(problem.zeros())[slice(0, 5)] == 0).all()


def test_refuses_what_cannot_be_fitted() -> None:
    scores, labels = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ShapeError, match=r"expected \(4,\), got \(3,\)"):
        Problem(scores, labels[:3], 2)
    with pytest.raises(DataError, match=r"labels must lie in \[0, 2\), got 0\.\.2"):
        Problem(scores, torch.tensor([0, 1, 2, 0]), 2)
    with pytest.raises(DataError, match="NaN or infinite"):
        Problem(torch.full((4, 2), float("nan")), labels, 2)
    with pytest.raises(DataError, match="at least 1 image and 2 classes, got 4 images and 1 classes"):
        Problem(scores, labels, 1)
    with pytest.raises(ShapeError, match=r"targets must be of shape \(4, 2\), got \(4, 3\)"):
        Problem(scores, labels, 2, torch.rand(4, 3))
    with pytest.raises(ShapeError, match=r"image weights must be of shape \(4,\), got \(3,\)"):
        Problem(scores, labels, 2, weights=torch.ones(3))
    with pytest.raises(DataError, match="targets must be >= 0 and sum to 1"):
        Problem(scores, labels, 2, torch.rand(4, 2), block=2)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize(("labels", "right"), [((0, 0), 1.0), ((1, 0), 0.5), ((1, 1), 0.0)])
def test_of_equal_logits_the_lower_class_counts(block: int, labels: tuple[int, int], right: float) -> None:
    """Both classes have the same weights, so that all logits are equal; the second image shows no code at all."""
    problem = Problem(torch.tensor([[1.0, 0.5], [0.0, 0.0]]), torch.tensor(labels), 2, block=block)
    assert problem.top1(torch.tensor([[2.0, 1.0], [2.0, 1.0]])) == right
