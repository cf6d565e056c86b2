"""K-means by cosine or Euclidean distance, in full passes over the tokens, with revival of dead codes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import Metric
from protoquant.codebook.learners.revival import revive
from protoquant.codebook.learners.worst_tokens import WorstTokens
from protoquant.codebook.matching import Matcher
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import FlatSource, own_token_batches
from protoquant.codebook.usage import UsageCounter
from protoquant.distributed.ranks import rank, sum_over_ranks, totals_over_ranks

_SAME = 1e-6
# Tokens converted, matched and summed at once: few enough for their data to stay in the CPU's caches.
_BLOCK = 1_024


@dataclass(frozen=True)
class CodebookEpoch:
    """One full pass.

    Attributes:
        codes: Codes after the pass (k, d).
        usage: Usage and error during the pass, before its last update.
        revived: Number of revived dead codes.
        values: Further numbers of the learner, such as its losses.
    """

    codes: Float[Tensor, "k d"]
    usage: UsageCounter
    revived: int
    values: Mapping[str, float] = field(default_factory=dict)


def kmeans(
    source: FlatSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm | None,
    *,
    metric: Metric,
    epochs: int,
    batch: int,
    update: Literal["epoch", "batch"],
    tolerance: float,
    generator: torch.Generator,
) -> Iterator[CodebookEpoch]:
    """Move codes to the means of the tokens nearest to them.

    With the metric ``cosine`` codes are unit vectors, the directions of the means of unit tokens (spherical
    k-means), and the error is the mean of 1 - cosine; with ``euclidean`` they are the means themselves, and the
    error is the mean squared distance, the value ``distance`` of each pass. With ``update="epoch"`` (Lloyd) the
    error never rises from pass to pass. With ``"batch"`` codes move after every batch of randomly drawn images;
    at the start of a pass, what they have learned so far weighs as much as one batch. A code that no token was
    nearest to in a pass is revived: it moves to a token that another code represents badly. With ``"batch"`` the
    last moves of the last pass can leave a code dead; the codebook's final numbers count it as such.
    In a distributed run every process handles its share of each batch, and all end with the same codes.

    Args:
        source: Train tokens.
        codes: Initial codes; unit rows for ``cosine``.
        norm: Map from tokens to the space of the codes; None if the tokens are in it already (as unit vectors for
            ``cosine``).
        metric: Metric that decides the nearest code.
        epochs: Maximum number of passes.
        batch: Tokens per step, rounded down to whole images.
        update: When codes move.
        tolerance: Stop after a pass that lowered the error by less than this share and revived no code.
        generator: Decides the order of the images with ``update="batch"``.

    Yields:
        One record per pass; the last holds the result.

    Source:
        Dhillon and Modha 2001 (spherical k-means); Sculley 2010 (mini-batches, per-code learning rates).
    """
    before = float("inf")
    counts = torch.zeros(len(codes), dtype=codes.dtype, device=codes.device)
    steps = max(1, -(-source.n // max(1, batch // source.t)))
    for _ in range(epochs):
        shuffle = generator if update == "batch" else None
        learned = _Pass(codes, counts / steps if update == "batch" else torch.zeros_like(counts), metric)
        for tokens in own_token_batches(source, batch, shuffle):
            for block in torch.split(tokens, _BLOCK):
                here = block.to(codes.device)
                learned.add(here if norm is None else norm.vectors(here, metric))
            if update == "batch":
                learned.move()
        learned.move()
        usage, worst = learned.usage.over_ranks(), learned.worst.over_ranks()
        counts = usage.counts.to(codes)
        codes, revived, _ = revive(learned.codes, counts == 0, worst.errors, worst.vectors)
        error, values = learned.error(usage)
        yield CodebookEpoch(codes, usage, revived, values)
        if revived == 0 and before - error <= tolerance * error:
            return
        before = error


class _Pass:
    """Sums of one pass over the tokens; in a distributed run, over those of this process."""

    def __init__(self, codes: Float[Tensor, "k d"], weights: Float[Tensor, " k"], metric: Metric) -> None:
        self.codes = codes
        self.usage = UsageCounter(len(codes))
        self.worst = WorstTokens(codes)
        self._metric = metric
        self._matcher = Matcher(codes, metric)
        known = weights if rank() == 0 else torch.zeros_like(weights)  # counted once in the sums over all processes
        self._sums = codes * known[:, None]
        self._weights = known.clone()
        self._distance = 0.0

    def add(self, vectors: Float[Tensor, "b d"]) -> None:
        """Assign a block of tokens and add them to the sums of their codes."""
        indices, similarities = self._matcher.nearest(vectors)
        self.usage.add(indices, self._matcher.cosines(vectors, indices, similarities))
        self._sums.index_add_(0, indices, vectors)
        if self._metric == "cosine":
            errors = 1.0 - similarities
        else:
            errors = -similarities
            self._distance += float(errors.sum(dtype=torch.float64))
            self._weights += torch.bincount(indices, minlength=len(self._weights))
        # a zero token must not become a code
        self.worst.add(vectors, indices, errors * (torch.linalg.vector_norm(vectors, dim=1) > 0))

    def move(self) -> None:
        """Turn sums into codes; a code without tokens, or whose tokens cancel out, stays where it is."""
        sums, sizes = sum_over_ranks(self._sums), sum_over_ranks(self._weights)
        if self._metric == "cosine":
            sizes = torch.linalg.vector_norm(sums, dim=1)
            sizes = sizes.where(sizes > _SAME, 0.0)
        stays = sizes == 0
        means = sums / sizes.where(~stays, 1.0)[:, None]
        means[stays] = self.codes[stays]
        self.codes = means
        self._matcher = Matcher(self.codes, self._metric)

    def error(self, usage: UsageCounter) -> tuple[float, dict[str, float]]:
        """The error of the pass, and further values to report.

        Args:
            usage: Usage over all processes.
        """
        health = usage.health()
        if self._metric == "cosine":
            return health.quantization_error, {}
        distance = totals_over_ranks(self._distance)[0] / health.tokens
        return distance, {"distance": distance}
