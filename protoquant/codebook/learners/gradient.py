"""Stage 1 of the paper on stored tokens: codes learned by gradient through the frozen task head."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.learners.assignment import match
from protoquant.codebook.learners.config import GradientLearnerConfig
from protoquant.codebook.learners.kmeans import CodebookEpoch
from protoquant.codebook.learners.revival import revive
from protoquant.codebook.learners.stage_one import BatchSums
from protoquant.codebook.learners.worst_tokens import WorstTokens, revival_due
from protoquant.codebook.matching import Matcher, Metric
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.task.targets import Mixing, smooth
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import FlatSource, image_batches, own_token_batches
from protoquant.codebook.usage import UsageCounter
from protoquant.core.descent import Batch, Descent, Slope
from protoquant.core.schedule import warmup_cosine
from protoquant.distributed.ranks import own, sum_over_ranks, totals_over_ranks

# Tokens mapped, matched and summed at once: few enough for their data to stay in the processor's caches.
_CHUNK = 1_024


def gradient(
    source: FlatSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm,
    head: TaskHead,
    config: GradientLearnerConfig,
    *,
    metric: Metric,
    epochs: int,
    batch: int,
    generator: torch.Generator,
) -> Iterator[CodebookEpoch]:
    """Learn codes by Adam: L = w_task CE(g(quantised map)) + w_codebook MSE(code, token) + w_balance L_balance.

    Tokens are assigned to their nearest code without gradient and replaced by it as it is, not scaled to norm 1.
    The task head and everything before it are frozen; only codes move, and without weight decay a code that
    no token is nearest to stays where it is until it is revived. In a distributed run every process handles its
    share of each batch, and all make the same step.

    Args:
        source: Train tokens and labels.
        codes: Initial codes (k, d).
        norm: Map between tokens and the space of the codes.
        head: The frozen task head.
        config: Optimiser, loss weights, soft labels, and when dead codes are revived.
        metric: Metric that decides the nearest code.
        epochs: Number of passes, at least ``warmup_epochs``; all are made.
        batch: Tokens per step, rounded down to whole images.
        generator: Decides the order of the images and the mixing.

    Yields:
        One record per pass, with its mean losses and last learning rate; the last holds the result. Usage and
        error are measured on the mixed tokens.

    Raises:
        DataError: A loss is NaN or infinite; nothing is yielded after that.

    Source:
        Janusz et al. 2026 (ProtoQuant), stage 1.
    """
    scale = _coordinate(source, norm, batch, codes) if config.lr_scale == "tokens" else 1.0
    if config.lr_scale == "tokens" and metric == "cosine":
        codes = torch.nn.functional.normalize(codes, dim=1) * (scale * math.sqrt(source.d))
    steps = len(list(image_batches(source, batch)))

    def rate(step: int) -> float:
        return scale * warmup_cosine(
            step, total=epochs * steps, warmup=config.warmup_epochs * steps, peak=config.lr, floor=config.floor
        )

    learned = codes.clone().requires_grad_()
    stage = _StageOne(source, learned, norm, head, config, metric, generator)
    descent = Descent(config.optimizer, [learned], [rate], weight_decay=config.weight_decay)
    for number in range(1, epochs + 1):
        last = revival_due(number, epochs, every=config.revive_every, until=config.revive_until)
        seen = _EpochStatistics(UsageCounter(len(codes)), WorstTokens(codes) if last else None)
        losses = descent.epoch(number, image_batches(source, batch, generator), partial(stage.slope, seen))
        usage = seen.usage.over_ranks()
        revived = 0 if seen.worst is None else _revive(learned, descent, usage, seen.worst.over_ranks())
        yield CodebookEpoch(learned.detach().clone(), usage, revived, losses | {"lr": descent.rates[0]})


@dataclass(frozen=True)
class _EpochStatistics:
    """Statistics of the epoch so far."""

    usage: UsageCounter
    worst: WorstTokens | None


@dataclass(frozen=True)
class _StageOne:
    """The loss of stage 1 as a function of the codes."""

    source: FlatSource
    codes: Float[Tensor, "k d"]
    norm: FeatureNorm
    head: TaskHead
    config: GradientLearnerConfig
    metric: Metric
    generator: torch.Generator

    def slope(self, seen: _EpochStatistics, batch: Batch) -> Slope:
        """Match one batch and differentiate its loss with respect to the codes."""
        config, images, codes = self.config, batch.images, self.codes.detach()
        mine = own(len(images))
        targets = smooth(self.source.labels[images].to(codes.device), len(self.head.probe.bias), config.smoothing)
        mixing = None
        if config.mixup > 0.0:
            mixing = Mixing.draw(len(images), config.mixup, self.generator)
            targets = mixing.mix(targets, targets[mixing.others.to(targets.device)])
        held = mine if mixing is None else slice(0, len(images))  # any image may be mixed with one of this process's
        tokens = self.source.tokens(images[held])
        sums = BatchSums(codes, self.norm, keep=config.weight_balance > 0.0)
        matcher = Matcher(codes, self.metric)
        size = max(1, _CHUNK // self.source.t)
        for start in range(mine.start, mine.stop, size):
            some = slice(start, min(start + size, mine.stop))
            here = tokens[some.start - held.start : some.stop - held.start].to(codes)
            if mixing is not None:
                here = mixing.mix(here, tokens[mixing.others[some]].to(codes))
            self._match(here, matcher, sums, seen)
        share = (mine.stop - mine.start) / len(images)
        losses = sums.losses(self.codes, targets[mine], self.head, config, self.metric, share=share)
        numbers = losses.numbers()
        for name, value in numbers.items():
            batch.require_finite(value, subject=f"{name} became", remedy="; lower quantize.gradient.lr")
        gradients = map(sum_over_ranks, torch.autograd.grad(losses.total, self.codes))
        return Slope(gradients, {name: value * len(images) / self.source.n for name, value in numbers.items()})

    def _match(self, tokens: Float[Tensor, "n t d"], matcher: Matcher, sums: BatchSums, seen: _EpochStatistics) -> None:
        vectors = self.norm.apply(tokens)
        flat = vectors.flatten(0, 1)
        matched = match(flat, matcher, self.metric)
        seen.usage.add(matched.indices, matched.cosines)
        if seen.worst is not None:
            seen.worst.add(flat, matched.indices, matched.errors)
        sums.add(tokens, vectors, matched.indices.reshape(tokens.shape[:2]))


def _revive(codes: Float[Tensor, "k d"], descent: Descent, usage: UsageCounter, worst: WorstTokens) -> int:
    """Revive dead codes and reset Adam's state for them."""
    dead = usage.counts.to(codes.device) == 0
    moved, revived, rows = revive(codes.detach(), dead, worst.errors, worst.vectors)
    with torch.no_grad():
        codes.copy_(moved)
    descent.forget(codes, rows)
    return revived


def _coordinate(source: FlatSource, norm: FeatureNorm, batch: int, codes: Float[Tensor, "k d"]) -> float:
    """Root mean square of the coordinates of all tokens, in the space of the codes."""
    energy = 0.0
    for tokens in own_token_batches(source, batch):
        for part in torch.split(tokens, _CHUNK):
            energy += float(torch.linalg.vector_norm(norm.apply(part.to(codes)), dtype=torch.float64)) ** 2
    return math.sqrt(totals_over_ranks(energy)[0] / (source.n * source.t * source.d))
