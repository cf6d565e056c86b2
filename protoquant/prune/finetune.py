"""Fine-tuning after a cut: fits the remaining weights again; removed ones cannot come back."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.errors import DataError
from protoquant.head.class_weights import mean_cross_entropy
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
    """Minimise the head's own convex objective over the remaining weights.

    The optimum depends only on the support and the scores, not on the initial weights.

    Args:
        train: Scores to fit on.
        weights: Initial weights.
        support: Weights that may be non-zero.
        penalty: L1 penalty, >= 0.
        limits: When to stop.
        ridge: L2 penalty, >= 0; at least one of the two is > 0.
    """
    columns = support.any(dim=0).nonzero().flatten()
    problem = Problem(train.scores[:, columns], train.labels, len(weights), weights=train.weights)
    found = solve(problem, penalty, limits, start=weights[:, columns], support=support[:, columns], ridge=ridge)
    return Tuned(torch.zeros_like(weights).index_copy_(1, columns, found.weights), found.iterations)


class Watch:
    """Tracks the best value and decides when to stop.

    Args:
        rule: Gives the minimum gain and the patience.
        start: The value before the first epoch; lower is better.
    """

    def __init__(self, rule: Patience, start: float) -> None:
        self._rule = rule
        self._best = start
        self._stale = 0

    def better(self, value: float) -> bool:
        """Record the value of an epoch; return True if it is at least min_delta better than the best so far."""
        gained = value < self._best and value <= self._best - self._rule.min_delta
        self._stale = 0 if gained else self._stale + 1
        if gained:
            self._best = value
        return gained

    @property
    def over(self) -> bool:
        """Whether as many consecutive epochs as the patience names brought no gain; 0 is the same as 1."""
        return self._stale >= max(1, self._rule.patience)


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
    """Run gradient epochs on ReLU weights from their present values, with a new optimizer.

    A weight at zero has no gradient, so weights that were cut or that become zero stay zero. Adam's weight decay is
    part of the loss, behind the ReLU, because it could otherwise revive them; AdamW's shrinks weights directly.

    Args:
        config: Optimizer, epochs and the rule that ends them.
        train: Scores to fit on.
        validation: Scores that the stopping rule watches; unused without a rule.
        weights: Initial weights.
        support: Weights that may be non-zero.
        penalty: L1 penalty, >= 0.
        ridge: L2 penalty, >= 0.
        generator: Decides the order of the images.

    Returns:
        Copies of the last epoch's weights; with a rule, those of the best epoch or the initial ones.

    Raises:
        DataError: A weight becomes NaN or infinite.
    """
    columns = support.any(dim=0).nonzero().flatten()
    scores, counted = train.scores[:, columns], train.weights
    held_out = replace(validation, scores=validation.scores[:, columns], counts=None)
    raw = weights[:, columns].clone().requires_grad_()
    best, epoch = raw.detach().clone(), 0
    in_loss, in_optimizer = (0.0, config.weight_decay) if config.optimizer == "adamw" else (config.weight_decay, 0.0)
    watch = None if config.stop is None else Watch(config.stop, quality(held_out, best).cost(config.stop.metric))

    def slope(batch: Batch) -> Slope:
        positive = raw.relu()
        of_batch = None if counted is None else counted[batch.images]
        loss = mean_cross_entropy(scores[batch.images] @ positive.T, train.labels[batch.images], of_batch)
        paid = penalty * positive.sum() + ridge / 2 * positive.square().sum()
        decayed = in_loss / 2 * positive.square().sum() if in_loss else 0.0
        return Slope(torch.autograd.grad(loss + paid / len(raw) + decayed, raw))

    descent = Descent(config.optimizer, [raw], [lambda _: config.lr], weight_decay=in_optimizer)
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
