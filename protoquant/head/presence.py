"""Presence: how surely a code is somewhere in an image, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.errors import ShapeError
from protoquant.core.events import OnEvent, ProgressEvent
from protoquant.features.store import FeatureStore
from protoquant.head.nearest import Nearest


@dataclass(frozen=True)
class Presence:
    """Pooled similarities of images.

    Attributes:
        scores: Presence of every code (n, k), in [0, 1].
        cells: The grid cell that gave it (n, k), row by row; the first of equals.
    """

    scores: Float[Tensor, "n k"]
    cells: Int64[Tensor, "n k"]


@dataclass(frozen=True)
class ScoredSplit:
    """All that train needs of a split, from one pass over its tokens.

    Attributes:
        scores: Presence (n, k) for each temperature, in the order asked for.
        probe_logits: The linear probe's class scores (n, c).
        nearest: The images nearest to each code.
        labels: Class of every image (n).
    """

    scores: tuple[Float[Tensor, "n k"], ...]
    probe_logits: Float[Tensor, "n c"]
    nearest: Nearest
    labels: Int64[Tensor, " n"]

    def on(self, images: Int64[Tensor, " m"]) -> "ScoredSplit":
        """The same of some images; the images nearest to each code stay those of the whole split."""
        scores = tuple(part[images] for part in self.scores)
        return ScoredSplit(scores, self.probe_logits[images], self.nearest, self.labels[images])


def competition(similarity: Float[Tensor, "n t k"], temperature: float) -> Float[Tensor, "n t k"]:
    """Softmax over the codes at every cell: a code counts as far as it beats the others there.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: > 0; the lower, the more the best code takes all.

    Returns:
        Shares in [0, 1] that sum to 1 over the codes.
    """
    return torch.softmax(similarity / temperature, dim=-1)


def pool(similarity: Float[Tensor, "n t k"], temperature: float) -> Presence:
    """Presence scores of images whose similarities are known.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: > 0.

    Source:
        ProtoQuant (arXiv 2602.06592): softmax over prototypes, then maximum over locations.
    """
    scores, cells = competition(similarity, temperature).max(dim=1)
    return Presence(scores, cells)


def presence(tokens: Float[Tensor, "n t d"], codebook: Codebook, temperature: float) -> Presence:
    """Presence scores of images.

    Args:
        tokens: Patch tokens without prefix tokens, any scale, float16 or float32.
        codebook: Codes on the tokens' device.
        temperature: > 0.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    return pool(codebook.similarity(tokens), temperature)


def score_split(
    store: FeatureStore,
    codebook: Codebook,
    probe: LinearProbe,
    temperatures: Sequence[float],
    *,
    batch: int,
    nearest: int,
    device: torch.device,
    label: str,
    on_event: OnEvent,
) -> ScoredSplit:
    """Score every image of a split in one pass: each cosine is computed once, whatever the number of temperatures.

    No more than one batch of cosines (batch, t, k) is held; what remains is (n, k) for each temperature.

    Args:
        store: Patch tokens of the split.
        codebook: Codes.
        probe: The yardstick, scored on the way.
        temperatures: Of the softmax over codes.
        batch: Images at once; batches are cut at shard offsets.
        nearest: Images kept for each code.
        device: Where to compute.
        label: What progress is called.
        on_event: Told after every batch.

    Raises:
        ShapeError: d differs from the codebook's, or the split is empty. DataError: A token holds NaN or infinity.
    """
    if store.n == 0:
        raise ShapeError(f"{store.path} holds no image; check the shares of prepare")
    codebook, probe = codebook.to(device), probe.to(device)
    scores = tuple(torch.empty(store.n, codebook.k, device=device) for _ in temperatures)
    logits: list[Tensor] = []
    best = Nearest.empty(codebook.k, nearest, device)
    on_event(ProgressEvent(label, 0, store.n))
    for place, shard in store.shards():
        for start in range(0, len(shard), batch):
            tokens = shard[start : start + batch].to(device)
            first, after = place.start + start, place.start + start + len(tokens)
            similarity = codebook.similarity(tokens)
            for kept, temperature in zip(scores, temperatures, strict=True):
                kept[first:after] = competition(similarity, temperature).amax(dim=1)
            logits.append(probe.logits(tokens.float().mean(dim=1)))
            best = best.with_images(similarity, first)
            on_event(ProgressEvent(label, after, store.n))
    return ScoredSplit(scores, torch.cat(logits), best, store.labels.to(device))
