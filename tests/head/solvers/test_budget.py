from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.head.solvers.budget import budget_path, largest_of_class
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import optimality_residual, solve
from tests.builders.problems import EXACT, lbfgs, random_problem


def test_the_largest_of_each_class_and_of_equal_ones_the_lower_code() -> None:
    weights = torch.tensor([[0.5, 2.0, 0.5, 0.5], [0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    assert largest_of_class(weights, 2).int().tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert largest_of_class(weights, 1).int().tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    # More than there are: no zero weight is marked.
    assert torch.equal(largest_of_class(weights, 9), weights > 0)


def test_ties_go_to_the_lower_code_however_many_there_are() -> None:
    """An unstable sort would scatter the choice once a row is long."""
    chosen = largest_of_class(torch.ones(2, 500), 7)
    assert torch.equal(chosen, torch.arange(500).expand(2, -1) < 7)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(4, 30), st.integers(1, 10), st.integers(2, 4)),
    budgets=st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True),
    ridge=st.floats(0.003, 1.0),
    share=st.floats(0.1, 1.0),
)
def test_no_class_has_more_than_its_budget(seed, sizes, budgets, ridge, share) -> None:
    problem = random_problem(seed, *sizes)
    found = list(budget_path(problem, budgets, ridge, share, Limits(1e-3, 2000)))
    assert [one.budget for one in found] == budgets
    for one in found:
        assert int((one.last.weights > 0).sum(dim=1).max()) <= one.budget
        assert (one.last.weights >= 0).all()
        # A code that the dense fit did not rank among the largest cannot come in.
        assert not bool(((one.last.weights > 0) & ~largest_of_class(one.dense.weights, one.budget)).any())


def test_a_budget_is_used_where_the_class_has_weights_enough() -> None:
    problem = random_problem(3, 40, 9)
    two, three = budget_path(problem, (2, 3), 0.01, 1.0, EXACT)
    dense = (two.dense.weights > 0).sum(dim=1)
    assert int(dense.min()) >= 3
    assert (two.last.weights > 0).sum(dim=1).tolist() == [2, 2, 2]
    assert int((three.last.weights > 0).sum()) > 6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ridge", [0.3, 0.03, 0.003])
def test_both_fits_are_the_optimum_of_scipy(seed: int, ridge: float) -> None:
    problem = random_problem(seed, 40, 9)
    (one,) = budget_path(problem, (3,), ridge, 0.3, EXACT)
    objective, weights = lbfgs(problem, ridge=ridge)
    assert one.dense.objective == pytest.approx(objective, abs=1e-8)
    np.testing.assert_allclose(one.dense.weights.numpy(), weights, atol=1e-3 * max(1.0, weights.max()))
    support = largest_of_class(one.dense.weights, 3).numpy()
    objective, weights = lbfgs(problem, ridge=0.3 * ridge, support=support)
    assert one.last.objective == pytest.approx(objective, abs=1e-8)
    np.testing.assert_allclose(one.last.weights.numpy(), weights, atol=1e-3 * max(1.0, weights.max()))
    assert one.last.weights[:, ~support.any(axis=0)].abs().sum() == 0


@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(4, 25), st.integers(1, 9), st.integers(2, 4)),
    penalty=st.sampled_from([0.0, 0.01, 0.1]),
    ridge=st.floats(0.003, 3.0),
    part=st.booleans(),
)
def test_optimality_conditions_hold_with_a_ridge(seed, sizes, penalty, ridge, part) -> None:
    """Of weights > 0 the slope is 0, of weights at 0 it is >= 0; where a weight is held there is no condition."""
    problem = random_problem(seed, *sizes)
    generator = torch.Generator().manual_seed(seed)
    support = torch.rand(problem.zeros().shape, generator=generator) < 0.6 if part else None
    found = solve(problem, penalty, Limits(1e-4, 20_000), start=problem.zeros(), support=support, ridge=ridge)
    # By autograd from the objective as the module states it, not from the solver's own gradient.
    weights = found.weights.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(problem.scores @ weights.T, problem.labels)
    objective = loss + (penalty * weights.sum() + ridge / 2 * weights.square().sum()) / problem.classes
    (slope,) = torch.autograd.grad(objective * problem.classes, weights)
    bound = 1e-4 * (penalty + ridge) + 1e-12
    allowed = torch.ones_like(found.weights, dtype=torch.bool) if support is None else support
    assert float(found.objective) == pytest.approx(float(objective.detach()), abs=1e-12)
    assert (found.weights >= 0).all()
    assert not bool((found.weights > 0)[~allowed].any())
    assert bool((slope[allowed] >= -bound).all())
    assert bool((slope.abs()[found.weights > 0] <= bound).all())
    plain = problem.gradient(problem.logits(found.weights)) + ridge * found.weights
    assert found.residual == pytest.approx(optimality_residual(found.weights, plain, penalty, support), abs=1e-12)


@given(seed=st.integers(0, 10_000), ridge=st.floats(0.003, 0.3))
def test_a_larger_budget_never_fits_train_worse(seed: int, ridge: float) -> None:
    """Supports are nested, so that the optimum over the larger one is no higher."""
    found = list(budget_path(random_problem(seed, 40, 9), (1, 2, 3, 5, 9), ridge, 1.0, EXACT))
    objectives = [one.last.objective for one in found]
    assert all(after <= before + 1e-9 for before, after in pairwise(objectives))
    # At share 1 all weights together are the dense fit again.
    assert objectives[-1] == pytest.approx(found[0].dense.objective, abs=1e-9)


def test_one_dense_fit_ranks_for_all_budgets() -> None:
    found = list(budget_path(random_problem(1, 40, 9), (1, 3), 0.03, 0.3, EXACT))
    assert found[0].dense is found[1].dense


def test_copies_of_a_code_share_the_weight() -> None:
    """The reason for an L2 penalty: two codes that see the same part get the same weight, none is left out."""
    problem = random_problem(2, 40, 9)
    doubled = Problem(torch.cat([problem.scores, problem.scores[:, :1]], dim=1), problem.labels, problem.classes)
    (one,) = budget_path(doubled, (10,), 0.03, 1.0, EXACT)
    assert float(one.dense.weights[:, 0].max()) > 0.1
    torch.testing.assert_close(one.dense.weights[:, 0], one.dense.weights[:, -1], atol=1e-4, rtol=1e-4)
