"""The duality gap of the convex problem, which bounds how far a head's objective is above the minimum."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.head.solvers.problem import Logits, Problem


def duality_gap(
    problem: Problem,
    weights: Float[Tensor, "c k"],
    logits: Logits,
    *,
    gradient: Float[Tensor, "c k"],
    penalty: float,
    support: Bool[Tensor, "c k"] | None = None,
    ridge: float = 0.0,
) -> float:
    """Objective of a head minus the lower bound that its own probabilities give, in nats.

    With targets y_i in the simplex (a label is one of its corners), image weights w_i (1 without class weights), logits
    z_i = W a_i and logsumexp(z) = max over q in the simplex of q . z + H(q), H the entropy, the primal problem is

        P = min over W >= 0 of  mean_i w_i [logsumexp(z_i) - y_i . z_i] + penalty / c * sum(W)
          = min over W >= 0, max over q of  mean_i w_i H(q_i)
            + sum_jp W_jp * [penalty / c - mean_i w_i a_ip (y_ij - q_ij)]

    Exchanging the two, the minimum over W is 0 where no bracket is negative and -infinity elsewhere, so that

        D = max of mean_i w_i H(q_i)  over q_i in the simplex
            with  c * mean_i w_i a_ip (y_ij - q_ij) <= penalty  for all j, p.

    y need not be a corner, so soft targets need no further term. For any head, with p = softmax(z),
    the point q = (1 - s) y + s p has y - q = s (y - p) and satisfies all conditions for
    s = min(1, penalty / max(c * mean_i w_i a_ip (y_ij - p_ij))). At the optimum s = 1 and the gap is 0.

    With a ridge the minimum over W is -(c / (2 ridge)) * min(bracket, 0)^2 where a bracket is negative, so every q is
    feasible and q = p is used. At the optimum W = c / ridge * max(-bracket, 0) and the gap is 0 again.

    Args:
        problem: Scores and targets.
        weights: The head, >= 0.
        logits: Its logits.
        gradient: ``problem.gradient(logits)``.
        penalty: L1 penalty, >= 0.
        support: Weights that may be non-zero; the others have no condition. None for all weights.
        ridge: L2 penalty, >= 0.

    Returns:
        P - D >= 0; a value below 0 from rounding is returned as 0.

    Source:
        Boyd and Vandenberghe 2004, sections 3.3 and 5.2; scaled residuals as dual point: Kim et al. 2007 (l1_ls).
    """
    primal = problem.loss(logits) + penalised(weights, penalty, ridge)
    excess = -gradient if support is None else -gradient * support
    steepest = float(excess.max()) if gradient.numel() else 0.0
    if steepest <= penalty:
        bound = _mean_entropy(problem, logits, 1.0)
    elif ridge > 0.0:
        over = float((excess - penalty).clamp_min(0).double().square().sum())
        bound = _mean_entropy(problem, logits, 1.0) - over / (2 * ridge * problem.classes)
    else:
        bound = _mean_entropy(problem, logits, penalty / steepest)
    return max(primal - bound, 0.0)


def penalised(weights: Float[Tensor, "c k"], penalty: float, ridge: float) -> float:
    """Penalty term of a head: penalty / c * sum(W) + ridge / (2 c) * sum(W^2), in nats."""
    wide = weights.double()
    return (penalty * float(wide.sum()) + ridge / 2 * float(wide.square().sum())) / len(weights)


def _mean_entropy(problem: Problem, logits: Logits, share: float) -> float:
    """Mean entropy of (1 - share) * targets + share * probabilities, each image counted by its weight."""
    total = 0.0
    for block in problem.blocks():
        chances = torch.softmax(logits[block].double(), dim=1).mul_(share)
        if share < 1:
            chances += (1 - share) * problem.target_rows(block)
        total += float(problem.weighed(torch.special.entr(chances), block).sum())
    return problem.mean(total)
