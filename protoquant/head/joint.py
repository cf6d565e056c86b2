"""Joint training of codes and head on stored tokens, starting from a fitted head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, pooled
from protoquant.codebook.space.directed import KEPT, DirectedSource
from protoquant.codebook.task.targets import smooth
from protoquant.codebook.tokens import TokenSource
from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.schedule import warmup_cosine
from protoquant.distributed.ranks import own, sum_over_ranks, totals_over_ranks
from protoquant.head.config import JointConfig

FLOOR = 0.01
"""Final learning rate, as a share of the highest."""


@dataclass(frozen=True)
class JointEpoch:
    """Codes and head after a pass over the train images.

    Attributes:
        number: Number of the epoch, from 1.
        loss: Mean training cross-entropy over the pass, in nats.
        drift: Mean cosine of the codes with their initial values, in [-1, 1].
        codebook: The moved codes, as unit vectors.
        weights: The head (c, k), >= 0; zero wherever it was zero at the start.
    """

    number: int
    loss: float
    drift: float
    codebook: Codebook
    weights: Float[Tensor, "c k"]


def joint_epochs(
    views: Sequence[TokenSource],
    codebook: Codebook,
    weights: Float[Tensor, "c k"],
    temperature: float,
    *,
    config: JointConfig,
    generator: torch.Generator,
) -> Iterator[JointEpoch]:
    """Minimise the mean cross-entropy jointly over unit codes and non-negative weights, by Adam.

    The gradient reaches a code through the softmax at the cells that determine some prototype's presence, so codes
    that the head does not use move too, because they compete. A zero weight stays zero, as in the paper's training, so
    the head keeps its size or shrinks. In every step each prototype is dropped from an image with probability
    ``prototype_dropout`` and the others are scaled up, so that no class depends on a single part. In a distributed run
    every process handles its share of each batch, and all make the same step.

    Args:
        views: The plain train tokens, then augmented views of the same images; each epoch uses the next one in turn.
        codebook: Initial codes, on the device to compute on.
        weights: Initial head, >= 0.
        temperature: Temperature of the softmax over codes; it is fixed.
        config: Learning rates, epochs and dropout.
        generator: Decides the order of the images and the dropout; on the CPU, so that all devices draw the same.

    Yields:
        Codes and head after every epoch.

    Raises:
        DataError: The loss is NaN or infinite; the message names epoch and batch.
        ValueError: The codebook has rest codes.
    """
    if codebook.rest is not None:
        raise ValueError("joint training does not count rest codes, which pruning alone makes; train whole codebooks")
    device, start = codebook.codes.device, codebook.codes
    codes, head = start.clone().requires_grad_(), weights.to(device).clone().requires_grad_()
    remedy = f"; lower train.joint.lr_codes, {config.lr_codes:g}, and train.joint.lr_head, {config.lr_head:g}"

    room = KEPT // len(views)
    held = [DirectedSource(view, codebook.norm, device, room) for view in views]

    def slope(place: int, batch: Batch) -> Slope:
        size = len(batch.images)
        factors = _dropout((size, len(codes)), config.prototype_dropout, generator)[own(size)]
        mine = batch.images[own(size)]
        targets = smooth(views[place].labels[mine].to(device), len(head), config.smoothing)
        cosines = codebook.norm.project(held[place].of(mine), normalize(codes, dim=1))
        scores = pooled(competition(cosines, temperature)) * factors.to(cosines)
        losses = -(targets * torch.log_softmax(scores @ head.relu().T, dim=1)).sum(dim=1)
        loss = losses.sum() / size
        (value,) = totals_over_ranks(float(loss.detach()))
        batch.require_finite(value, subject="the joint loss is", remedy=remedy)
        return Slope(map(sum_over_ranks, torch.autograd.grad(loss, [codes, head])), {"loss": value * size})

    n = views[0].n
    total = config.epochs * -(-n // config.batch)
    rates = [
        partial(warmup_cosine, total=total, warmup=total // 10, peak=peak, floor=peak * FLOOR)
        for peak in (config.lr_codes, config.lr_head)
    ]
    descent = Descent("adam", [codes, head], rates)
    for number in range(1, config.epochs + 1):
        order = torch.randperm(n, generator=generator)
        view = partial(slope, (number - 1) % len(views))
        sums = descent.epoch(number, torch.split(order, config.batch), view)
        moved = normalize(codes.detach(), dim=1)
        drift = float((moved * start).sum(dim=1).double().mean())
        yield JointEpoch(number, sums["loss"] / n, drift, replace(codebook, codes=moved), head.detach().relu())


def _dropout(shape: tuple[int, int], share: float, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """Factors for presences: 0 for randomly dropped prototypes, 1 / (1 - share) for the others to preserve the mean.

    Source:
        Srivastava et al. 2014 (dropout), on the inputs of the head.
    """
    if share == 0.0:
        return torch.ones(shape)
    return (torch.rand(shape, generator=generator) >= share).float() / (1.0 - share)
