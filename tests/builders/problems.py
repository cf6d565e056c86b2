"""Small convex problems of the head, and their solution by scipy."""

import numpy as np
import torch
from scipy.optimize import minimize

from protoquant.head.class_weights import ClassWeights
from protoquant.head.solvers.problem import Limits, Problem

EXACT = Limits(tolerance=1e-6, max_iterations=20_000)


def random_problem(seed: int, n: int, k: int, c: int = 3, dtype: torch.dtype = torch.float64) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=generator)
    labels[:c] = torch.arange(c)
    scores = torch.rand(n, k, generator=generator, dtype=torch.float64) ** 3
    scores[torch.arange(n), labels % k] += 0.3 * torch.rand(n, generator=generator, dtype=torch.float64)
    return Problem(scores.to(dtype), labels, c)


def weighed(problem: Problem, relative: tuple[float, ...]) -> Problem:
    """The same problem with class weights."""
    weights = ClassWeights(problem.classes, relative).of_images(problem.labels)
    return Problem(problem.scores, problem.labels, problem.classes, problem.targets, weights=weights)


def lbfgs(
    problem: Problem, *, penalty: float = 0.0, ridge: float = 0.0, support: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The same convex problem, written in numpy and solved by scipy with bounds."""
    scores, labels, c = problem.scores.numpy(), problem.labels.numpy(), problem.classes
    free = np.ones((c, problem.k), dtype=bool) if support is None else support
    rows = np.arange(problem.n)
    counted = np.ones(problem.n) if problem.weights is None else problem.weights.numpy()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(c, problem.k)
        logits = scores @ weights.T
        top = logits.max(axis=1, keepdims=True)
        chances = np.exp(logits - top)
        total = chances.sum(axis=1, keepdims=True)
        loss = (counted * (np.log(total[:, 0]) + top[:, 0] - logits[rows, labels])).mean()
        error = chances / total
        error[rows, labels] -= 1
        gradient = (counted[:, None] * error).T @ scores / problem.n + penalty / c + ridge / c * weights
        return loss + penalty / c * weights.sum() + ridge / (2 * c) * (weights**2).sum(), gradient.ravel()

    found = minimize(
        objective,
        np.zeros(c * problem.k),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None if open_ else 0) for open_ in free.ravel()],
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10},
    )
    return float(found.fun), found.x.reshape(c, problem.k)
