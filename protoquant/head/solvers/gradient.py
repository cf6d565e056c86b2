"""Stage 2 of the paper on stored presence scores: weights behind a ReLU, trained by Adam on mini-batches.

A weight that reaches 0 or less gets no gradient, neither from the cross-entropy nor from the penalty, and never
recovers. This is the paper's behaviour and is kept here; the proximal solver does not have this trap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.codebook.task.targets import mixup, smooth
from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.schedule import warmup_cosine
from protoquant.distributed.ranks import gather_over_ranks, rank, sum_over_ranks, world
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.objective import cross_entropy
from protoquant.head.solvers.problem import Problem

MEAN, DEVIATION = 1.0, 0.1
"""Mean and deviation of the normal distribution of the initial weights."""

FLOOR = 1e-6
"""Learning rate at the end of the cosine, or the highest rate if that is lower."""


@dataclass(frozen=True)
class HeadEpoch:
    """The head after a pass over the train images.

    Attributes:
        number: Number of the epoch, from 1.
        steps: Number of steps so far.
        objective: Mean training objective over the pass: loss of the batch + penalty / c * sum(weights).
        weights: The head (c, k), >= 0.
    """

    number: int
    steps: int
    objective: float
    weights: Float[Tensor, "c k"]


def train_epochs(
    problem: Problem, penalty: float, config: GradientHeadConfig, generator: torch.Generator
) -> Iterator[HeadEpoch]:
    """Minimise mean CE(objective(a relu(W)^T), y) + penalty / c * sum(relu(W)) for one penalty.

    In a distributed run all processes assemble each batch together and make the same steps.

    Args:
        problem: Scores and labels; its targets, if it has any, replace smoothed labels.
        penalty: L1 penalty, >= 0, on the scale of the proximal solver's.
        config: Optimizer, schedule, objective, smoothing and mixup.
        generator: Decides the initial weights, the order of images and the mixing; on the CPU.

    Yields:
        The head after every epoch.

    Raises:
        DataError: The loss is NaN or infinite; the message names epoch and batch.

    Source:
        ProtoQuant (arXiv 2602.06592), stage 2, with the penalty divided by the number of classes.
    """
    raw = torch.randn(problem.classes, problem.k, generator=generator, dtype=problem.dtype)
    raw = raw.mul_(DEVIATION).add_(MEAN).to(problem.labels.device)
    remedy = f", at penalty {penalty:g}; lower train.gradient.lr, {config.lr:g}"

    def slope(batch: Batch) -> Slope:
        scores, targets = _batch(problem, batch.images, config, generator)
        value, gradient = loss_and_gradient(raw, scores, targets, penalty, config)
        batch.require_finite(value, subject="the head's loss is", remedy=remedy)
        return Slope([gradient], {"objective": value * len(batch.images) / problem.images})

    per_epoch = -(-problem.images // config.batch)
    total, warmup = config.epochs * per_epoch, config.warmup_epochs * per_epoch
    rate = partial(warmup_cosine, total=total, warmup=warmup, peak=config.lr, floor=min(FLOOR, config.lr))
    decay = config.weight_decay if config.optimizer == "adamw" else 0.0  # adam's decay is part of the gradient here
    descent = Descent(config.optimizer, [raw], [rate], weight_decay=decay)
    for number in range(1, config.epochs + 1):
        order = torch.randperm(problem.images, generator=generator).to(problem.labels.device)
        sums = descent.epoch(number, torch.split(order, config.batch), slope)
        yield HeadEpoch(number, descent.steps, sums["objective"], raw.relu())


def loss_and_gradient(
    raw: Float[Tensor, "c k"],
    scores: Float[Tensor, "n k"],
    targets: Float[Tensor, "n c"],
    penalty: float,
    config: GradientHeadConfig,
) -> tuple[float, Float[Tensor, "c k"]]:
    """The training objective of a batch and its derivative with respect to the weights before the ReLU.

    The derivative is 0 for every weight <= 0. Adam's weight decay is part of the gradient and goes through the ReLU
    too, because it could otherwise revive a dead weight. AdamW's is not included: it shrinks weights without changing
    their sign.

    Args:
        raw: Weights before the ReLU.
        scores: Presence scores of the batch.
        targets: Soft labels of the batch.
        penalty: L1 penalty; a weight costs penalty / c.
        config: Objective and weight decay.
    """
    weights, per_weight = raw.relu(), penalty / len(raw)
    loss = cross_entropy(scores @ weights.T, targets, config.objective)
    gradient = loss.error.T @ scores + per_weight
    if config.optimizer == "adam":
        gradient += config.weight_decay * weights
    return loss.value + per_weight * float(weights.double().sum()), gradient * (raw > 0)


def _batch(
    problem: Problem, images: Tensor, config: GradientHeadConfig, generator: torch.Generator
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n c"]]:
    """Scores and soft labels of some images, given by their positions among all, with mixup as configured.

    Soft labels of an image sum to its weight; mixup mixes the weights with them.
    """
    first = sum(gather_over_ranks(problem.n)[: rank()])
    mine = (images >= first) & (images < first + problem.n)
    here = images[mine] - first
    if problem.targets is None:
        labels = smooth(problem.labels[here], problem.classes, config.smoothing).to(problem.dtype)
    else:
        labels = problem.target_rows(here)
    scores, targets = (_whole(part, mine) for part in (problem.rows(here), problem.weighed(labels, here)))
    mixed = mixup(scores, targets, config.mixup, generator)
    return mixed.values, mixed.targets


def _whole(rows: Float[Tensor, "b m"], mine: Bool[Tensor, " n"]) -> Float[Tensor, "n m"]:
    """Assemble a batch whose marked rows are in this process and the others in other processes."""
    if world() == 1:
        return rows
    whole = rows.new_zeros(len(mine), rows.shape[1])
    whole[mine] = rows
    return sum_over_ranks(whole)
