"""Stage 1 of the paper on stored tokens: codes learned by gradient through the frozen task head."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.learners.config import GradientLearnerConfig
from protoquant.codebook.learners.kmeans import CodebookEpoch
from protoquant.codebook.learners.matched import match
from protoquant.codebook.learners.revive import revive
from protoquant.codebook.learners.stage_one import BatchSums
from protoquant.codebook.learners.worst import WorstTokens, revival_due
from protoquant.codebook.matching import Matcher, Metric
from protoquant.codebook.task.targets import Mixing, smooth
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import TokenSource, image_batches, own_token_batches
from protoquant.codebook.usage import UsageCounter
from protoquant.core.errors import DataError
from protoquant.core.schedule import warmup_cosine
from protoquant.distributed.ranks import own, sum_over_ranks, totals_over_ranks

# Tokens mapped, matched and summed at once: what they need stays in the processor's caches.
_CHUNK = 1_024
_MOMENTS = ("exp_avg", "exp_avg_sq")


def gradient(
    source: TokenSource,
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

    Tokens go to their nearest code without gradient, and the code takes their place as it is, not of norm 1.
    The task head and everything before it are frozen; codes alone move, and without weight decay a code that
    no token is nearest to stays where it is, until it is revived. In a distributed run every process looks at its
    share of each batch, and all make the same step.

    Args:
        source: Train tokens and labels.
        codes: Where to start (k, d).
        norm: Map between tokens and the space of the codes.
        head: The frozen task head.
        config: Optimiser, weights, soft labels, and when dead codes are revived.
        metric: How the nearest code is found.
        epochs: Passes, each of them made; at least ``warmup_epochs``.
        batch: Tokens of one step, rounded down to whole images.
        generator: Order of the images, and what is mixed with what.

    Yields:
        One record per pass, with its mean losses and last learning rate; the last holds the result. Usage and
        error are those of the tokens as they were mixed.

    Raises:
        DataError: A loss is NaN or infinite; no later codes are given out.

    Source:
        Janusz et al. 2026 (ProtoQuant), stage 1.
    """
    scale = _coordinate(source, norm, batch, codes) if config.lr_scale == "tokens" else 1.0
    if config.lr_scale == "tokens" and metric == "cosine":
        codes = torch.nn.functional.normalize(codes, dim=1) * (scale * math.sqrt(source.d))
    steps = len(list(image_batches(source, batch)))
    learner = _Learner(_Problem(norm, head, config, metric), codes, generator)
    for number in range(1, epochs + 1):
        last = revival_due(number, epochs, every=config.revive_every, until=config.revive_until)
        seen = _EpochStatistics(UsageCounter(len(codes)), WorstTokens(codes) if last else None)
        totals: dict[str, float] = {}
        rate = 0.0
        for step, images in enumerate(image_batches(source, batch, generator)):
            done = (number - 1) * steps + step
            rate = scale * warmup_cosine(
                done, total=epochs * steps, warmup=config.warmup_epochs * steps, peak=config.lr, floor=config.floor
            )
            for name, value in learner.step(source, images, rate, seen).items():
                if not math.isfinite(value):
                    raise DataError(
                        f"{name} became {value} in epoch {number}, batch {step + 1}; lower quantize.gradient.lr"
                    )
                totals[name] = totals.get(name, 0.0) + value * len(images) / source.n
        usage = seen.usage.over_ranks()
        revived = 0 if seen.worst is None else learner.revive(usage, seen.worst.over_ranks())
        yield CodebookEpoch(learner.codes, usage, revived, totals | {"lr": rate})


@dataclass(frozen=True)
class _EpochStatistics:
    """What an epoch has met so far."""

    usage: UsageCounter
    worst: WorstTokens | None


@dataclass(frozen=True)
class _Problem:
    """What stays fixed while the codes move."""

    norm: FeatureNorm
    head: TaskHead
    config: GradientLearnerConfig
    metric: Metric


class _Learner:
    """The codes and their optimiser."""

    def __init__(self, problem: _Problem, codes: Float[Tensor, "k d"], generator: torch.Generator) -> None:
        self._problem, self._generator = problem, generator
        self._codes = codes.clone().requires_grad_()
        kind = torch.optim.Adam if problem.config.optimizer == "adam" else torch.optim.AdamW
        self._optimizer = kind([self._codes], lr=problem.config.lr, weight_decay=problem.config.weight_decay)

    @property
    def codes(self) -> Float[Tensor, "k d"]:
        """A copy of the codes as they are now."""
        return self._codes.detach().clone()

    def step(
        self, source: TokenSource, images: Int64[Tensor, " n"], rate: float, seen: _EpochStatistics
    ) -> dict[str, float]:
        """Match one batch, and move the codes against the gradient of its losses; gives their numbers."""
        config, codes, labels = self._problem.config, self._codes.detach(), source.labels[images].to(self._codes.device)
        mine = own(len(images))
        targets = smooth(labels, len(self._problem.head.probe.bias), config.smoothing)
        mixing = None
        if config.mixup > 0.0:
            mixing = Mixing.draw(len(images), config.mixup, self._generator)
            targets = mixing.mix(targets, targets[mixing.others.to(targets.device)])
        held = mine if mixing is None else slice(0, len(images))  # any image may be mixed with one of mine
        tokens = source.tokens(images[held])
        sums = BatchSums(codes, self._problem.norm, keep=config.weight_balance > 0.0)
        matcher = Matcher(codes, self._problem.metric)
        size = max(1, _CHUNK // source.t)
        for start in range(mine.start, mine.stop, size):
            some = slice(start, min(start + size, mine.stop))
            here = tokens[some.start - held.start : some.stop - held.start].to(codes)
            if mixing is not None:
                here = mixing.mix(here, tokens[mixing.others[some]].to(codes))
            self._match(here, matcher, sums, seen)
        share = (mine.stop - mine.start) / len(images)
        losses = sums.losses(self._codes, targets[mine], self._problem.head, config, self._problem.metric, share=share)
        numbers = losses.numbers()
        if math.isfinite(numbers["loss"]):
            (self._codes.grad,) = map(sum_over_ranks, torch.autograd.grad(losses.total, self._codes))
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.step()
        return numbers

    def revive(self, usage: UsageCounter, worst: WorstTokens) -> int:
        """Give dead codes a new place; Adam forgets what it knew of them."""
        dead = usage.counts.to(self._codes.device) == 0
        moved, revived, rows = revive(self._codes.detach(), dead, worst.errors, worst.vectors)
        with torch.no_grad():
            self._codes.copy_(moved)
        for name in _MOMENTS:
            self._optimizer.state[self._codes][name][rows] = 0.0
        return revived

    def _match(self, tokens: Float[Tensor, "n t d"], matcher: Matcher, sums: BatchSums, seen: _EpochStatistics) -> None:
        vectors = self._problem.norm.apply(tokens)
        flat = vectors.flatten(0, 1)
        matched = match(flat, matcher, self._problem.metric)
        seen.usage.add(matched.indices, matched.cosines)
        if seen.worst is not None:
            seen.worst.add(flat, matched.indices, matched.errors)
        sums.add(tokens, vectors, matched.indices.reshape(tokens.shape[:2]))


def _coordinate(source: TokenSource, norm: FeatureNorm, batch: int, codes: Float[Tensor, "k d"]) -> float:
    """Root mean square of the numbers of all tokens, in the space of the codes."""
    energy = 0.0
    for tokens in own_token_batches(source, batch):
        for part in torch.split(tokens, _CHUNK):
            energy += float(torch.linalg.vector_norm(norm.apply(part.to(codes)), dtype=torch.float64)) ** 2
    return math.sqrt(totals_over_ranks(energy)[0] / (source.n * source.t * source.d))
