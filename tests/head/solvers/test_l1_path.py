import pytest
import torch

from protoquant.head.solvers.l1_path import _solve_screened, largest_penalty, penalty_path, solve_path
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve

LIMITS = Limits(1e-5, 20_000)


@pytest.fixture
def problem() -> Problem:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(60) % 4
    scores = 0.2 * torch.rand(60, 24, generator=generator, dtype=torch.float64)
    scores[torch.arange(60), labels * 6] += torch.rand(60, generator=generator, dtype=torch.float64)
    return Problem(scores, labels, 4)


def test_largest_penalty_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.2], [0.0, 0.4]], dtype=torch.float64)
    # class 0, code 0: c / n * (1.0 * (1 - 1/2) + 0.0 * (0 - 1/2)) = 0.5
    assert largest_penalty(Problem(scores, torch.tensor([0, 1]), 2)) == pytest.approx(0.5)


def test_largest_penalty_is_where_the_head_becomes_zero(problem: Problem) -> None:
    largest = largest_penalty(problem)
    assert (solve(problem, largest, LIMITS, start=problem.zeros()).weights == 0).all()
    assert (solve(problem, largest, LIMITS, start=problem.zeros() + 1).weights == 0).all()
    assert (solve(problem, 0.999 * largest, LIMITS, start=problem.zeros()).weights > 0).any()


def test_penalty_path_falls_evenly_in_the_log() -> None:
    assert penalty_path(8.0, 0.125, 3) == pytest.approx((4.0, 2.0, 1.0))


def test_path_trades_penalty_for_loss(problem: Problem) -> None:
    path = list(solve_path(problem, penalty_path(largest_penalty(problem), 0.01, 12), LIMITS))
    sums = [float(one.weights.sum()) for one in path]
    losses = [one.loss for one in path]
    assert sums == sorted(sums)
    assert losses == sorted(losses, reverse=True)
    assert all(one.residual <= 1e-5 * one.penalty for one in path)


def test_screening_does_not_change_the_solution(problem: Problem) -> None:
    for screened in solve_path(problem, penalty_path(largest_penalty(problem), 0.05, 5), LIMITS):
        full = solve(problem, screened.penalty, LIMITS, start=problem.zeros())
        assert screened.objective == pytest.approx(full.objective, abs=1e-8)


def test_a_code_set_aside_by_mistake_comes_back(problem: Problem) -> None:
    penalty = 0.1 * largest_penalty(problem)
    kept = torch.arange(problem.k) == 1
    screened, gradient = _solve_screened(problem, penalty, LIMITS, start=problem.zeros(), kept=kept)
    full = solve(problem, penalty, LIMITS, start=problem.zeros())
    assert screened.objective == pytest.approx(full.objective, abs=1e-8)
    torch.testing.assert_close(gradient, problem.gradient(problem.scores @ screened.weights.T))


def test_screening_sets_codes_aside(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    keep = Problem.on

    def counted(self: Problem, columns: torch.Tensor) -> Problem:
        widths.append(len(columns))
        return keep(self, columns)

    monkeypatch.setattr(Problem, "on", counted)
    list(solve_path(problem, penalty_path(largest_penalty(problem), 0.5, 4), LIMITS))
    assert max(widths) < problem.k


def test_same_problem_same_path(problem: Problem) -> None:
    penalties = penalty_path(largest_penalty(problem), 0.05, 4)
    first, second = (list(solve_path(problem, penalties, LIMITS)) for _ in range(2))
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(first, second, strict=True))


def test_permuting_codes_permutes_weights(problem: Problem) -> None:
    order = torch.randperm(problem.k, generator=torch.Generator().manual_seed(0))
    penalties = penalty_path(largest_penalty(problem), 0.1, 3)
    plain = list(solve_path(problem, penalties, LIMITS))[-1]
    permuted = list(solve_path(problem.on(order), penalties, LIMITS))[-1]
    torch.testing.assert_close(permuted.weights, plain.weights[:, order], atol=1e-4, rtol=1e-4)
