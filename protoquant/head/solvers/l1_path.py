"""The regularisation path: heads for falling L1 penalties, each started from the one before."""

from collections.abc import Iterator, Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.head.solvers.problem import Limits, Problem, Solution
from protoquant.head.solvers.proximal import describe, solve


def largest_penalty(problem: Problem) -> float:
    """The smallest penalty at which the best head is all zero.

    At W = 0 every class has probability 1 / c, and no weight can grow while its gradient is at
    most the penalty: max over (j, p) of c * mean_i w_i a_ip (y_ij - 1 / c), w_i the image's weight.

    Source:
        Friedman, Hastie, Tibshirani 2010 (glmnet), section 2.5, with the sign constraint.
    """
    return max(float((-problem.gradient(problem.logits(problem.zeros()))).max()), 0.0)


def penalty_path(largest: float, ratio: float, points: int) -> tuple[float, ...]:
    """Penalties from ``largest * ratio^(1 / points)`` down to ``largest * ratio``, evenly spaced in the log.

    The largest penalty itself is left out, because its head is zero by construction.
    """
    return tuple(largest * ratio ** (point / points) for point in range(1, points + 1))


def solve_path(problem: Problem, penalties: Sequence[float], limits: Limits) -> Iterator[Solution]:
    """Solve for falling penalties, each started from the head of the one before.

    The sequential strong rule sets aside codes that cannot enter at the next penalty; they are
    brought back if the full optimality conditions disagree, so the result is that of the full
    problem.

    Args:
        problem: Scores and labels.
        penalties: L1 penalties, falling.
        limits: When to stop at one penalty.

    Yields:
        One solution for each penalty.

    Source:
        Tibshirani et al. 2012, "Strong rules for discarding predictors in lasso-type problems".
    """
    weights = problem.zeros()
    gradient = problem.gradient(problem.logits(weights))
    before = largest_penalty(problem)
    for penalty in penalties:
        bound = 2 * penalty - before
        kept = ((-gradient >= bound) | (weights > 0)).any(dim=0)
        solution, gradient = _solve_screened(problem, penalty, limits, start=weights, kept=kept)
        weights, before = solution.weights, penalty
        yield solution


def _solve_screened(
    problem: Problem, penalty: float, limits: Limits, *, start: Float[Tensor, "c k"], kept: Bool[Tensor, " k"]
) -> tuple[Solution, Float[Tensor, "c k"]]:
    """Solve on the kept codes, and again with those that the full conditions bring back; return the gradient too."""
    weights, iterations = start, 0
    while True:
        columns = kept.nonzero().flatten()
        part = solve(problem.on(columns), penalty, limits, start=weights[:, columns])
        iterations += part.iterations
        weights = problem.zeros().index_copy_(1, columns, part.weights)
        logits = problem.on(columns).logits(part.weights)
        gradient = problem.gradient(logits)
        missing = (-gradient > penalty * (1 + limits.tolerance)).any(dim=0) & ~kept
        if not bool(missing.any()):
            return describe(
                problem, weights, logits, gradient=gradient, penalty=penalty, iterations=iterations
            ), gradient
        kept = kept | missing
