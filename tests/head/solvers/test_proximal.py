import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import DataError
from protoquant.head.solvers.l1_path import largest_penalty
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import optimality_residual, refit, solve
from tests.builders.problems import EXACT, lbfgs, random_problem, weighed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_reaches_the_optimum_of_scipy(seed: int, share: float) -> None:
    problem = random_problem(seed, 30, 7)
    penalty = share * largest_penalty(problem)
    found = solve(problem, penalty, EXACT, start=problem.zeros())
    expected, weights = lbfgs(problem, penalty=penalty)
    assert found.objective == pytest.approx(expected, abs=1e-7)
    np.testing.assert_allclose(found.weights.numpy(), weights, atol=5e-3 * max(1.0, weights.max()))


@pytest.mark.parametrize(("penalty", "ridge"), [(0.02, 0.0), (0.0, 0.05)])
def test_with_class_weights_it_reaches_the_weighted_optimum_of_scipy(penalty: float, ridge: float) -> None:
    plain = random_problem(3, 40, 7)
    problem = weighed(plain, (1.0, 5.0, 0.2))
    found = solve(problem, penalty, EXACT, start=problem.zeros(), ridge=ridge)
    expected, weights = lbfgs(problem, penalty=penalty, ridge=ridge)
    assert found.objective == pytest.approx(expected, abs=1e-7)
    assert found.gap <= 1e-6
    np.testing.assert_allclose(found.weights.numpy(), weights, atol=5e-3 * max(1.0, weights.max()))
    assert abs(lbfgs(plain, penalty=penalty, ridge=ridge)[0] - expected) > 1e-2, "else the weights would change nothing"


@given(seed=st.integers(0, 1000), times=st.tuples(*[st.integers(1, 4)] * 3))
def test_a_class_of_weight_m_counts_as_its_images_m_times(seed: int, times: tuple[int, int, int]) -> None:
    once = random_problem(seed, 20, 5)
    repeats = torch.tensor(times)[once.labels]
    often = Problem(once.scores.repeat_interleave(repeats, dim=0), once.labels.repeat_interleave(repeats), 3)
    weights = weighed(once, tuple(map(float, times)))
    assert largest_penalty(weights) == pytest.approx(largest_penalty(often))
    one, other = (solve(each, 0.02, EXACT, start=each.zeros()) for each in (weights, often))
    assert one.objective == pytest.approx(other.objective, abs=1e-8)
    assert one.gap == pytest.approx(other.gap, abs=1e-6)


def test_float32_reaches_the_same_objective() -> None:
    problem = random_problem(1, 30, 7, dtype=torch.float32)
    penalty = 0.05 * largest_penalty(problem)
    found = solve(problem, penalty, Limits(1e-3, 5000), start=problem.zeros())
    assert found.weights.dtype == torch.float32
    assert found.residual <= 1e-3 * penalty
    assert found.objective == pytest.approx(lbfgs(random_problem(1, 30, 7), penalty=penalty)[0], abs=2e-6)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(4, 25),
    k=st.integers(1, 9),
    c=st.integers(2, 4),
    share=st.floats(0.03, 0.99),
)
def test_optimality_conditions_hold(seed: int, n: int, k: int, c: int, share: float) -> None:
    problem = random_problem(seed, n, k, c)
    largest = largest_penalty(problem)
    if largest < 1e-6:
        return
    penalty = share * largest
    found = solve(problem, penalty, Limits(1e-4, 20_000), start=problem.zeros())
    gradient = problem.gradient(problem.scores @ found.weights.T)
    assert (found.weights >= 0).all()
    assert (gradient + penalty >= -1e-4 * penalty).all()
    assert ((gradient + penalty).abs()[found.weights > 0] <= 1e-4 * penalty).all()
    expected, _ = lbfgs(problem, penalty=penalty)
    assert abs(found.objective - expected) <= 1e-6
    assert found.objective - expected <= found.gap + 1e-9


def test_objective_is_cross_entropy_plus_normalised_penalty() -> None:
    problem = random_problem(0, 30, 7)
    found = solve(problem, 0.01, EXACT, start=problem.zeros())
    loss = torch.nn.functional.cross_entropy(problem.scores @ found.weights.T, problem.labels)
    assert found.loss == pytest.approx(float(loss), abs=1e-12)
    assert found.objective == pytest.approx(float(loss + 0.01 / 3 * found.weights.sum()), abs=1e-12)


def test_start_does_not_change_the_optimum() -> None:
    problem = random_problem(2, 30, 7)
    cold = solve(problem, 0.02, EXACT, start=problem.zeros())
    warm = solve(problem, 0.02, EXACT, start=torch.full_like(problem.zeros(), 3.0))
    assert warm.objective == pytest.approx(cold.objective, abs=1e-9)


def test_a_spent_budget_shows_in_the_residual() -> None:
    problem = random_problem(3, 30, 7)
    found = solve(problem, 0.001, Limits(1e-8, 3), start=problem.zeros())
    assert found.iterations == 3
    assert found.residual > 1e-8 * 0.001


def test_support_keeps_the_other_weights_at_zero() -> None:
    problem = random_problem(0, 30, 7)
    support = torch.zeros_like(problem.zeros(), dtype=torch.bool)
    support[:, :2] = True
    found = solve(problem, 0.001, EXACT, start=problem.zeros(), support=support)
    assert (found.weights[~support] == 0).all()
    assert (found.weights[support] > 0).any()
    assert found.residual <= 1e-6 * 0.001


def test_refit_lowers_the_loss_on_the_same_support() -> None:
    problem = random_problem(4, 30, 7)
    chosen = solve(problem, 0.3 * largest_penalty(problem), EXACT, start=problem.zeros())
    second = refit(problem, chosen, 0.1, EXACT)
    assert ((second.weights > 0) <= (chosen.weights > 0)).all()
    assert problem.loss(problem.scores @ second.weights.T) < chosen.loss
    assert second.penalty == pytest.approx(0.1 * chosen.penalty)
    assert second.residual <= 1e-6 * second.penalty
    assert second.gap <= 1e-6
    assert refit(problem, chosen, 1.0, EXACT) is chosen


def test_residual_by_hand() -> None:
    weights = torch.tensor([[2.0, 0.0, 0.0]])
    gradient = torch.tensor([[-0.4, -0.7, 5.0]])
    assert optimality_residual(weights, gradient, 0.5) == pytest.approx(0.2)
    support = torch.tensor([[True, False, True]])
    assert optimality_residual(weights, gradient, 0.5, support) == pytest.approx(0.1)


@pytest.mark.parametrize(("seed", "n", "k", "c"), [(7, 6, 10, 5), (14, 6, 17, 2)])
def test_it_ends_near_the_optimum_where_rounding_hides_whether_the_loss_falls(
    seed: int, n: int, k: int, c: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, labels = torch.rand(n, k, generator=generator), torch.randint(0, c, (n,), generator=generator)
    scores[torch.arange(n), labels % k] = 1.0  # so that logits grow until float32 has no digits left for the loss
    problem = Problem(scores, labels, c)
    found = solve(problem, 1e-4, Limits(1e-6, 2000), start=problem.zeros())
    assert found.residual > 1e-6 * 1e-4, "else it ended at the tolerance"
    assert found.gap < 1e-4


def test_it_ends_by_itself_where_rounding_hides_whether_the_loss_falls() -> None:
    """After how many steps depends on the processor's rounding."""
    generator = torch.Generator().manual_seed(7)
    scores, labels = torch.rand(6, 10, generator=generator), torch.randint(0, 5, (6,), generator=generator)
    scores[torch.arange(6), labels % 10] = 1.0
    problem = Problem(scores, labels, 5)
    found = solve(problem, 1e-4, Limits(1e-6, 20_000), start=problem.zeros())
    assert found.iterations < 20_000
    assert found.residual > 1e-6 * 1e-4, "else it ended at the tolerance"


def test_a_loss_that_is_no_number_is_refused() -> None:
    problem = random_problem(0, 30, 7)
    with pytest.raises(DataError, match="the head's loss is nan: check the features"):
        solve(problem, 0.01, EXACT, start=problem.zeros() + float("inf"))
