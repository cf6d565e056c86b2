"""Mini-batch spherical k-means: full passes over the tokens, dead codes revived."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.matching import nearest
from protoquant.codebook.revive import revive
from protoquant.codebook.stream import TokenSource, token_batches
from protoquant.codebook.usage import UsageCounter

_SAME = 1e-6


@dataclass(frozen=True)
class Epoch:
    """One full pass.

    Attributes:
        codes: Codes after the pass (k, d).
        usage: Usage and error met during the pass, before its last update.
        revived: Dead codes that were given a new place.
        values: Further numbers of the learner, such as its losses.
    """

    codes: Float[Tensor, "k d"]
    usage: UsageCounter
    revived: int
    values: Mapping[str, float] = field(default_factory=dict)


def spherical_kmeans(
    source: TokenSource,
    codes: Float[Tensor, "k d"],
    norm: FeatureNorm | None,
    *,
    epochs: int,
    batch: int,
    update: Literal["epoch", "batch"],
    tolerance: float,
    generator: torch.Generator,
) -> Iterator[Epoch]:
    """Move unit codes to the mean directions of the tokens nearest to them.

    With ``update="epoch"`` (Lloyd) the mean of 1 - cosine never rises from pass to pass. With ``"batch"``
    codes move after every batch of randomly drawn images; at the start of a pass what they have learned
    weighs as much as one batch. A code that no token was nearest to in a pass is revived: it takes the
    place of the token that its own code represents worst. With ``"batch"`` the last moves of the last pass
    can leave a code dead; the codebook's final numbers count it.

    Args:
        source: Train tokens.
        codes: Where to start, unit rows.
        norm: Map from tokens to unit vectors; None where the tokens are unit vectors already.
        epochs: Most passes.
        batch: Tokens of one step, rounded down to whole images.
        update: When codes move.
        tolerance: Stop after a pass that lowered the error by less than this share and revived nothing.
        generator: Order of the images for ``update="batch"``.

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
        learned = _Pass(codes, counts / steps if update == "batch" else torch.zeros_like(counts))
        for tokens in token_batches(source, batch, shuffle):
            here = tokens.to(codes.device)
            learned.add(here if norm is None else norm.units(here))
            if update == "batch":
                learned.move()
        learned.move()
        counts = learned.usage.counts.to(codes)
        codes, revived, _ = revive(learned.codes, counts == 0, learned.worst_error, learned.worst)
        yield Epoch(codes, learned.usage, revived)
        error = learned.usage.health().quantization_error
        if revived == 0 and before - error <= tolerance * error:
            return
        before = error


class _Pass:
    """Sums of one pass over the tokens."""

    def __init__(self, codes: Float[Tensor, "k d"], weights: Float[Tensor, " k"]) -> None:
        self.codes = codes
        self.usage = UsageCounter(len(codes))
        self.worst_error = torch.zeros_like(weights)
        self.worst = codes.clone()
        self._sums = codes * weights[:, None]

    def add(self, units: Float[Tensor, "b d"]) -> None:
        """Assign a batch and add its tokens to the sums of their codes."""
        indices, similarities = nearest(units, self.codes, "cosine")
        self.usage.add(indices, similarities)
        self._sums.index_add_(0, indices, units)
        self._remember_worst(units, indices, _errors(units, similarities))

    def move(self) -> None:
        """Turn sums into unit codes; a code without tokens, or whose tokens cancel, stays."""
        norms = torch.linalg.vector_norm(self._sums, dim=1, keepdim=True)
        self.codes = torch.where(norms > _SAME, self._sums / norms.clamp_min(_SAME), self.codes)

    def _remember_worst(self, units: Tensor, indices: Int64[Tensor, " b"], errors: Float[Tensor, " b"]) -> None:
        """Keep for every code the token that it represents worst."""
        largest = torch.zeros_like(self.worst_error).scatter_reduce(0, indices, errors, "amax")
        candidates = torch.nonzero(errors >= largest[indices]).flatten()
        row = torch.zeros_like(self.worst_error, dtype=torch.int64)
        row = row.scatter_reduce(0, indices[candidates], candidates, "amin", include_self=False)
        better = largest > self.worst_error
        self.worst[better] = units[row[better]]
        self.worst_error = torch.maximum(self.worst_error, largest)


def _errors(units: Float[Tensor, "b d"], similarities: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """1 - cosine, but 0 for a zero token, which must not become a code."""
    errors = 1.0 - similarities
    suspects = torch.nonzero(similarities == 0).flatten()
    errors[suspects] *= units[suspects].any(dim=1)
    return errors
