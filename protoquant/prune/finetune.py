"""Fine-tuning after a cut: the weights that are left are fitted again, none can come back."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.errors import DataError
from protoquant.head.prune_plan import GradientTuning, Patience
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve
from protoquant.prune.evidence import PruningEvidence
from protoquant.prune.measure import quality


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned head.

    Attributes:
        weights: The head (c, k).
        work: Iterations of the solver, or epochs.
    """

    weights: Float[Tensor, "c k"]
    work: int


def refit(
    train: PruningEvidence,
    weights: Float[Tensor, "c k"],
    support: Bool[Tensor, "c k"],
    penalty: float,
    limits: Limits,
    *,
    ridge: float = 0.0,
) -> Tuned:
    """Minimise the head's own convex objective over the weights that are left.

    The optimum depends on the support and the scores alone, not on where the solver starts.

    Args:
        train: Scores to fit on.
        weights: Where to start.
        support: Weights that may differ from zero.
        penalty: L1 penalty, >= 0.
        limits: When to stop.
        ridge: L2 penalty, >= 0; one of the two is > 0.
    """
    columns = support.any(dim=0).nonzero().flatten()
    problem = Problem(train.scores[:, columns], train.labels, len(weights))
    found = solve(problem, penalty, limits, start=weights[:, columns], support=support[:, columns], ridge=ridge)
    return Tuned(torch.zeros_like(weights).index_copy_(1, columns, found.weights), found.iterations)


class Watch:
    """Says when to stop, and which value was the best.

    Args:
        rule: Least gain and patience.
        start: The value before the first epoch; lower is better.
    """

    def __init__(self, rule: Patience, start: float) -> None:
        self._rule = rule
        self._best = start
        self._stale = 0

    def better(self, value: float) -> bool:
        """Take in the value of an epoch; true where it gains at least min_delta over the best so far."""
        gained = value < self._best and value <= self._best - self._rule.min_delta
        self._stale = 0 if gained else self._stale + 1
        if gained:
            self._best = value
        return gained

    @property
    def over(self) -> bool:
        """More epochs in a row were no better than patience bears; never while every epoch gains."""
        return self._stale > self._rule.patience


def descend(
    config: GradientTuning,
    train: PruningEvidence,
    validation: PruningEvidence,
    weights: Float[Tensor, "c k"],
    support: Bool[Tensor, "c k"],
    *,
    penalty: float,
    ridge: float = 0.0,
    generator: torch.Generator,
) -> Tuned:
    """Gradient epochs on ReLU weights from where they are, with a new optimizer.

    A weight at zero has no gradient, so that what was cut stays away and what becomes zero does too.

    Args:
        config: Optimizer, epochs and the rule that ends them.
        train: Scores to fit on.
        validation: Scores that the rule watches; unused without one.
        weights: Where to start.
        support: Weights that may differ from zero.
        penalty: L1 penalty, >= 0.
        ridge: L2 penalty, >= 0.
        generator: Order of the images.

    Returns:
        The last epoch's weights; with a rule, those of the best epoch or of the start. They are copies.

    Raises:
        DataError: The loss is no longer finite.
    """
    columns = support.any(dim=0).nonzero().flatten()
    scores, held_out = train.scores[:, columns], PruningEvidence(validation.scores[:, columns], validation.labels)
    raw = weights[:, columns].clone().requires_grad_()
    best, epoch = raw.detach().clone(), 0
    watch = None if config.stop is None else Watch(config.stop, quality(held_out, best).cost(config.stop.metric))

    def slope(batch: Batch) -> Slope:
        positive = raw.relu()
        loss = functional.cross_entropy(scores[batch.images] @ positive.T, train.labels[batch.images])
        paid = penalty * positive.sum() + ridge / 2 * positive.square().sum()
        return Slope(torch.autograd.grad(loss + paid / len(raw), raw))

    descent = Descent(config.optimizer, [raw], [lambda _: config.lr], weight_decay=config.weight_decay)
    for epoch in range(1, config.epochs + 1):
        order = torch.randperm(len(train.labels), generator=generator).to(train.labels.device)
        descent.epoch(epoch, torch.split(order, config.batch), slope)
        now = raw.detach().relu() * support[:, columns]
        if not bool(now.isfinite().all()):
            raise DataError(f"fine-tuning: a weight is NaN or infinite after epoch {epoch}; lower gradient.lr")
        if watch is None or config.stop is None or watch.better(quality(held_out, now).cost(config.stop.metric)):
            best = now.clone()
        if watch is not None and watch.over:
            break
    return Tuned(torch.zeros_like(weights).index_copy_(1, columns, best), epoch)
