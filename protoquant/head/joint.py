"""Joint training of codes and head on stored tokens, starting from a fitted head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import pooled_softmax
from protoquant.codebook.space.directed import KEPT, DirectedSource
from protoquant.codebook.task.targets import smooth
from protoquant.codebook.tokens import TokenSource
from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.schedule import warmup_cosine
from protoquant.distributed.ranks import own, sum_over_ranks, totals_over_ranks
from protoquant.head.class_weights import ClassWeights, weighed
from protoquant.head.config import JointConfig
from protoquant.head.moving_codes import lower_rates, moving_codes
from protoquant.head.narrowing import narrowing
from protoquant.head.solvers.budget import largest_of_class
from protoquant.head.steadiness import order_loss

FLOOR = 0.01
"""Final learning rate, as a share of the highest."""


@dataclass(frozen=True)
class JointEpoch:
    """Codes and head after a pass over the train images.

    Attributes:
        number: Number of the epoch, from 1.
        loss: Mean training loss over the pass, in nats: cross-entropy, and what ``steadiness`` adds to it.
        drift: Mean cosine of the codes with their initial values, in [-1, 1].
        codebook: The moved codes, as unit vectors.
        weights: The head (c, k), >= 0; zero wherever it was zero at the start.
        cut: Whether the head has come down to the size that it was to have; only then may the epoch be taken.
    """

    number: int
    loss: float
    drift: float
    codebook: Codebook
    weights: Float[Tensor, "c k"]
    cut: bool


def joint_epochs(
    views: Sequence[TokenSource],
    codebook: Codebook,
    weights: Float[Tensor, "c k"],
    temperature: float,
    *,
    config: JointConfig,
    class_weights: ClassWeights | None,
    generator: torch.Generator,
    size: int | None = None,
) -> Iterator[JointEpoch]:
    """Minimise the mean cross-entropy jointly over codes and non-negative weights, by Adam.

    Free codes may become any direction; of mixtures only the weights of their patches move. The gradient reaches a code
    through the softmax at the cells that determine some prototype's presence, so codes that the head does not use move
    too, because they compete. A zero weight of the head stays zero, as in the paper's training, so the head keeps its
    size or shrinks. A head of more than ``size`` weights in a class is cut to it over the first half of the epochs, the
    smallest weights of each class first, by :func:`narrowing`. In every step each prototype is dropped from an image
    with probability ``prototype_dropout`` and the others are scaled up, so that no class depends on a single part. The
    cross-entropy of an image is multiplied by its class weight, the order loss is not. With
    ``steadiness`` every step sees an image and a view of it: the loss is the mean of both, and ``steadiness`` times
    :func:`order_loss` between them. In a distributed run every process handles its share of each batch, and all make
    the same step.

    Args:
        views: The plain train tokens, then augmented views of the same images; each epoch uses the next one in turn,
            with ``steadiness`` beside the plain ones.
        codebook: Initial codes, on the device to compute on.
        weights: Initial head, >= 0.
        temperature: Temperature of the softmax over codes; it is fixed.
        config: Learning rates, epochs and dropout.
        class_weights: Weights of the images of each class; None: all count the same.
        generator: Decides the order of the images and the dropout; on the CPU, so that all devices draw the same.
        size: Most weights of a class at the end; None: as many as at the start.

    Yields:
        Codes and head after every epoch.

    Raises:
        DataError: The loss is NaN or infinite; the message names epoch and batch.
        ValueError: The codebook has rest codes.
    """
    if codebook.rest is not None:
        raise ValueError("joint training does not count rest codes, which pruning alone makes; train whole codebooks")
    if config.steadiness and len(views) == 1:
        raise ValueError("steadiness compares images with views of them, and there are none")
    device, start, moving = codebook.codes.device, codebook.codes, moving_codes(codebook, config)
    head = weights.to(device).clone().requires_grad_()
    kept = head.detach() > 0
    sizes = (codebook.k,) * config.epochs if size is None else narrowing(config, size)
    counted = None if class_weights is None else class_weights.of_images(views[0].labels)
    remedy = f"; {lower_rates(codebook, config)}"

    room = KEPT // len(views)
    held = [DirectedSource(view, codebook.norm, device, room) for view in views]

    def slope(places: Sequence[int], batch: Batch) -> Slope:
        size = len(batch.images)
        factors = _dropout((size, codebook.k), config.prototype_dropout, generator)[own(size)].to(device)
        mine = batch.images[own(size)]
        labels = views[0].labels[mine].to(device)
        targets = smooth(labels, len(head), config.smoothing)
        units, positive = moving.units(), head.relu() * kept
        seen = [pooled_softmax(codebook.norm.project(held[place].of(mine), units / temperature)) for place in places]
        losses = [cross_entropy((scores * factors) @ positive.T, targets, reduction="none") for scores in seen]
        own_weights = None if counted is None else counted[mine]
        loss = weighed(torch.stack(losses).mean(dim=0), own_weights).sum() / size
        if config.steadiness:
            loss = loss + config.steadiness * order_loss(seen[0], seen[1], positive, labels) * len(mine) / size
        (value,) = totals_over_ranks(float(loss.detach()))
        batch.require_finite(value, subject="the joint loss is", remedy=remedy)
        gradients = torch.autograd.grad(loss, [moving.parameter, head])
        return Slope(map(sum_over_ranks, gradients), {"loss": value * size})

    n = views[0].n
    total = config.epochs * -(-n // config.batch)
    rates = [
        partial(warmup_cosine, total=total, warmup=total // 10, peak=peak, floor=peak * FLOOR)
        for peak in (moving.rate, config.lr_head)
    ]
    descent = Descent("adam", [moving.parameter, head], rates)
    for number in range(1, config.epochs + 1):
        order = torch.randperm(n, generator=generator)
        view = partial(slope, _views_of_epoch(number, len(views), together=config.steadiness > 0))
        sums = descent.epoch(number, torch.split(order, config.batch), view)
        found = head.detach().relu() * kept
        # What is cut stays out, wherever the optimizer's memory moves it.
        kept &= largest_of_class(found, sizes[number - 1])
        moved = moving.codebook()
        drift = float((moved.codes * start).sum(dim=1).double().mean())
        yield JointEpoch(number, sums["loss"] / n, drift, moved, found * kept, cut=sizes[number - 1] == sizes[-1])


def _views_of_epoch(number: int, views: int, *, together: bool) -> tuple[int, ...]:
    """The views that an epoch sees: the next in turn, or the plain one and the next augmented one."""
    return (0, 1 + (number - 1) % (views - 1)) if together else ((number - 1) % views,)


def _dropout(shape: tuple[int, int], share: float, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """Factors for presences: 0 for randomly dropped prototypes, 1 / (1 - share) for the others to preserve the mean.

    Source:
        Srivastava et al. 2014 (dropout), on the inputs of the head.
    """
    if share == 0.0:
        return torch.ones(shape)
    return (torch.rand(shape, generator=generator) >= share).float() / (1.0 - share)
