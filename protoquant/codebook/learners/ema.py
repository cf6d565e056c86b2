"""VQ-EMA: codes are running means of the tokens nearest to them, moved after every batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.learners.assignment import match
from protoquant.codebook.learners.config import EmaConfig
from protoquant.codebook.learners.kmeans import CodebookEpoch
from protoquant.codebook.learners.revival import revive
from protoquant.codebook.learners.worst_tokens import WorstTokens, revival_due
from protoquant.codebook.matching import Matcher, Metric
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import FlatSource, own_token_batches
from protoquant.codebook.usage import UsageCounter
from protoquant.distributed.ranks import sum_over_ranks


@dataclass(frozen=True)
class EmaState:
    """The state of VQ-EMA as tensors; a run can continue from it.

    Attributes:
        codes: The codes (k, d), of norm 1 with the metric ``cosine``.
        counts: Running mean of the number of tokens that each code has in a batch (k).
        sums: Running mean of the sums of those tokens (k, d).
    """

    codes: Float[Tensor, "k d"]
    counts: Float[Tensor, " k"]
    sums: Float[Tensor, "k d"]

    @classmethod
    def start(cls, codes: Float[Tensor, "k d"], metric: Metric) -> "EmaState":
        """Start with every code as the mean of a single token equal to it."""
        if metric == "cosine":
            codes = torch.nn.functional.normalize(codes, dim=1)
        return cls(codes, torch.ones_like(codes[:, 0]), codes.clone())

    def step(
        self, counts: Float[Tensor, " k"], sums: Float[Tensor, "k d"], *, decay: float, epsilon: float, metric: Metric
    ) -> "EmaState":
        """Take in one batch.

        n <- decay n + (1 - decay) counts, m <- decay m + (1 - decay) sums; the code is m over
        (n + epsilon) / (sum of n + k epsilon) * (sum of n), and of norm 1 with the metric ``cosine``.

        Args:
            counts: Number of tokens of each code in the batch, over all processes.
            sums: Sum of their vectors.
            decay: Weight of the old running mean, in [0, 1).
            epsilon: Laplace smoothing of the counts, > 0.
            metric: Metric of the matching.

        Returns:
            The next state; a code whose mean is exactly zero keeps its place.

        Source:
            van den Oord et al. 2017, appendix A.1.
        """
        counts = torch.lerp(counts.to(self.counts), self.counts, decay)
        sums = torch.lerp(sums, self.sums, decay)
        total = counts.sum()
        smoothed = (counts + epsilon) / (total + len(counts) * epsilon) * total
        means = sums / smoothed[:, None]
        if metric == "cosine":
            means = torch.nn.functional.normalize(means, dim=1)
        return EmaState(torch.where(means.any(dim=1, keepdim=True), means, self.codes), counts, sums)

    def moved(self, codes: Float[Tensor, "k d"], rows: Int64[Tensor, " r"]) -> "EmaState":
        """Replace some codes; each starts again as the mean of one token."""
        counts, sums = self.counts.clone(), self.sums.clone()
        counts[rows], sums[rows] = 1.0, codes[rows]
        return replace(self, codes=codes, counts=counts, sums=sums)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save in order to continue from here; ``EmaState(**tensors)`` restores them."""
        return {"codes": self.codes, "counts": self.counts, "sums": self.sums}


def ema(
    source: FlatSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm,
    config: EmaConfig,
    *,
    metric: Metric,
    epochs: int,
    batch: int,
    generator: torch.Generator,
) -> Iterator[CodebookEpoch]:
    """Move codes by VQ-EMA over all tokens.

    With the metric ``cosine`` tokens and codes are unit vectors; with ``euclidean`` both keep their length in the
    feature space. In a distributed run every process handles its share of each batch, and all end with the same
    codes.

    Args:
        source: Train tokens.
        codes: Initial codes (k, d).
        norm: Map from tokens to the space of the codes.
        config: Decay, smoothing, and when dead codes are revived.
        metric: Metric that decides the nearest code.
        epochs: Number of passes; all are made.
        batch: Tokens per step, rounded down to whole images.
        generator: Decides the order of the images.

    Yields:
        One record per pass; the last holds the result.
    """
    state = EmaState.start(codes, metric)
    for number in range(1, epochs + 1):
        seen = _EpochTally(UsageCounter(len(codes)), WorstTokens(state.codes))
        for tokens in own_token_batches(source, batch, generator):
            here = tokens.to(codes.device)
            state = _step(state, norm.vectors(here, metric), config, metric, seen)
        usage, revived = seen.usage.over_ranks(), 0
        if revival_due(number, epochs, every=config.revive_every, until=config.revive_until):
            dead, agreed = usage.counts.to(codes.device) == 0, seen.worst.over_ranks()
            moved, revived, rows = revive(state.codes, dead, agreed.errors, agreed.vectors)
            state = state.moved(moved, rows)
        yield CodebookEpoch(state.codes, usage, revived)


@dataclass(frozen=True)
class _EpochTally:
    """Statistics of the epoch so far."""

    usage: UsageCounter
    worst: WorstTokens


def _step(
    state: EmaState, vectors: Float[Tensor, "b d"], config: EmaConfig, metric: Metric, seen: _EpochTally
) -> EmaState:
    """Match a batch and update the state with it."""
    matched = match(vectors, Matcher(state.codes, metric), metric)
    seen.usage.add(matched.indices, matched.cosines)
    seen.worst.add(vectors, matched.indices, matched.errors)
    counts = torch.bincount(matched.indices, minlength=len(state.codes)).to(vectors.dtype)
    sums = torch.zeros_like(state.sums).index_add_(0, matched.indices, vectors)
    return state.step(
        sum_over_ranks(counts), sum_over_ranks(sums), decay=config.decay, epsilon=config.epsilon, metric=metric
    )
