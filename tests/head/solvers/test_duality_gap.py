import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.head.solvers.duality_gap import duality_gap
from protoquant.head.solvers.l1_path import largest_penalty, penalty_path, solve_path
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import refit, solve


def drawn(seed: int, n: int, k: int, c: int, soft: bool) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=generator)
    scores = torch.rand(n, k, generator=generator, dtype=torch.float64) ** 2
    targets = torch.softmax(2 * torch.randn(n, c, generator=generator, dtype=torch.float64), dim=1)
    return Problem(scores, labels, c, targets if soft else None)


def gap_at(problem: Problem, weights: torch.Tensor, penalty: float) -> float:
    logits = problem.logits(weights)
    return duality_gap(problem, weights, logits, gradient=problem.gradient(logits), penalty=penalty)


def test_by_hand() -> None:
    # One image of class 0, score 1, W = 0: P = ln 2. Gradient of class 0 is 2 * (1/2 - 1) = -1 and the penalty 1/2,
    # so s = 1/2, q = (3/4, 1/4), D = H(q).
    problem = Problem(torch.ones(1, 1, dtype=torch.float64), torch.tensor([0]), 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert gap_at(problem, problem.zeros(), 0.5) == pytest.approx(math.log(2) - entropy, abs=1e-14)
    assert gap_at(problem, problem.zeros(), 1.0) == pytest.approx(0.0, abs=1e-14)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(2, 20), st.integers(1, 6), st.integers(2, 4)),
    share=st.floats(0.01, 1.5),
    size=st.floats(0.0, 20.0),
    soft=st.booleans(),
)
def test_bounds_the_distance_of_any_head(seed, sizes, share, size, soft) -> None:
    problem = drawn(seed, *sizes, soft)
    penalty = share * max(largest_penalty(problem), 1e-3)
    best = solve(problem, penalty, Limits(1e-7, 20_000), start=problem.zeros())
    weights = size * torch.rand(
        problem.zeros().shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    found = gap_at(problem, weights, penalty)
    objective = problem.loss(problem.logits(weights)) + penalty / problem.classes * float(weights.sum())
    assert found >= objective - best.objective - 1e-9
    assert found >= 0


@pytest.mark.parametrize("soft", [False, True])
def test_falls_to_zero_at_the_optimum(soft: bool) -> None:
    problem = drawn(1, 40, 6, 3, soft)
    penalty = 0.2 * largest_penalty(problem)
    gaps = [
        solve(problem, penalty, Limits(tolerance, 20_000), start=problem.zeros()).gap for tolerance in (0.1, 1e-3, 1e-7)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-7 < gaps[0]


def test_is_zero_above_the_largest_penalty() -> None:
    problem = drawn(2, 20, 5, 3, soft=True)
    assert gap_at(problem, problem.zeros(), 1.01 * largest_penalty(problem)) == pytest.approx(0.0, abs=1e-12)


def test_without_penalty_the_loss_itself_is_the_bound() -> None:
    problem = drawn(3, 20, 5, 3, soft=False)
    weights = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert gap_at(problem, weights, 0.0) == pytest.approx(problem.loss(problem.logits(weights)))


def test_path_and_refit_report_it() -> None:
    problem = drawn(4, 60, 8, 3, soft=False)
    for solution in solve_path(problem, penalty_path(largest_penalty(problem), 0.05, 4), Limits(1e-6, 20_000)):
        assert solution.gap < 1e-6
        assert solution.gap == pytest.approx(gap_at(problem, solution.weights, solution.penalty), abs=1e-9)
        second = refit(problem, solution, 0.3, Limits(1e-6, 20_000))
        # The other weights are held, so that the second fit is optimal among the chosen ones alone.
        assert second.gap < 1e-6


def ridge_gap(problem: Problem, weights: torch.Tensor, penalty: float, ridge: float) -> tuple[float, float]:
    """Gap and objective of a head; the objective is written out here."""
    logits = problem.logits(weights)
    gap = duality_gap(problem, weights, logits, gradient=problem.gradient(logits), penalty=penalty, ridge=ridge)
    paid = penalty * float(weights.sum()) + ridge / 2 * float(weights.square().sum())
    return gap, problem.loss(logits) + paid / problem.classes


def test_ridge_by_hand() -> None:
    # One image of class 0, score 1, W = 0: P = ln 2, p = (1/2, 1/2), c * a (y - p) = 1 for class 0,
    # D = ln 2 - 1 / (2 r c).
    problem = Problem(torch.ones(1, 1, dtype=torch.float64), torch.tensor([0]), 2)
    assert ridge_gap(problem, problem.zeros(), 0.0, 0.5)[0] == pytest.approx(1 / (2 * 0.5 * 2), abs=1e-14)
    # With an L1 penalty of 1/4 beside it only 3/4 is over.
    assert ridge_gap(problem, problem.zeros(), 0.25, 0.5)[0] == pytest.approx(0.75**2 / (2 * 0.5 * 2), abs=1e-14)
    # From the penalty of 1 on, the zero head is the optimum.
    assert ridge_gap(problem, problem.zeros(), 1.0, 0.5)[0] == pytest.approx(0.0, abs=1e-14)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(2, 20), st.integers(1, 6), st.integers(2, 4)),
    penalty=st.sampled_from([0.0, 0.02, 0.2]),
    ridge=st.floats(0.01, 5.0),
    size=st.floats(0.0, 20.0),
)
def test_with_a_ridge_it_bounds_the_distance_of_any_head(seed, sizes, penalty, ridge, size) -> None:
    problem = drawn(seed, *sizes, soft=seed % 2 == 1)
    best = solve(problem, penalty, Limits(1e-7, 20_000), start=problem.zeros(), ridge=ridge)
    weights = size * torch.rand(
        problem.zeros().shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    found, objective = ridge_gap(problem, weights, penalty, ridge)
    assert found >= objective - best.objective - 1e-9
    assert found >= 0
    assert best.gap <= 1e-9


@pytest.mark.parametrize("penalty", [0.0, 0.02])
@pytest.mark.parametrize("soft", [False, True])
def test_with_a_ridge_it_falls_to_zero_at_the_optimum(soft: bool, penalty: float) -> None:
    problem = drawn(1, 40, 6, 3, soft)
    gaps = [
        solve(problem, penalty, Limits(tolerance, 20_000), start=problem.zeros(), ridge=0.03).gap
        for tolerance in (0.1, 1e-2, 1e-6)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-9 < gaps[0]


def test_with_a_ridge_weights_that_are_held_have_no_condition() -> None:
    problem = drawn(5, 40, 6, 3, soft=False)
    support = torch.arange(18).reshape(3, 6) % 2 == 0
    held = solve(problem, 0.0, Limits(1e-7, 20_000), start=problem.zeros(), support=support, ridge=0.03)
    assert held.gap < 1e-9
    assert ridge_gap(problem, held.weights, 0.0, 0.03)[0] > 1e-3
