"""Presence scores of a whole split, from one pass over its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, pooled
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.tokens import TokenSource, image_batches
from protoquant.core.events import OnEvent
from protoquant.core.machine.disk import reserve
from protoquant.distributed.ranks import own_images, totals_over_ranks
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import refuse_empty, stream_tokens
from protoquant.model.presence import presence


@dataclass(frozen=True)
class ScoredSplit:
    """All that train needs of a split, from one pass over its tokens; in a distributed run, of this process's images.

    Attributes:
        scores: Presence (n, k) for each temperature, in the given order.
        probe_logits: The linear probe's class scores (n, c).
        nearest: The images nearest to each code, of the whole split.
        labels: Class of every image (n).
        first: Position of the first image in the split.
    """

    scores: tuple[Float[Tensor, "n k"], ...]
    probe_logits: Float[Tensor, "n c"]
    nearest: NearestImages
    labels: Int64[Tensor, " n"]
    first: int = 0

    @property
    def images(self) -> int:
        """Number of images in the whole split."""
        return round(totals_over_ranks(len(self.labels))[0])

    def on(self, images: Int64[Tensor, " m"]) -> "ScoredSplit":
        """Select images by position; the images nearest to each code remain those of the whole split."""
        images = images[(images >= self.first) & (images < self.first + len(self.labels))] - self.first
        scores = tuple(part[images] for part in self.scores)
        return ScoredSplit(scores, self.probe_logits[images], self.nearest, self.labels[images])


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
    folder: Path | None = None,
    on_event: OnEvent,
) -> ScoredSplit:
    """Score every image of a split in one pass: each cosine is computed once, whatever the number of temperatures.

    At most one batch of cosines (batch, t, k) is held; the result has (n, k) for each temperature. In a distributed
    run every process scores the images of its own part.

    Args:
        store: Patch tokens of the split.
        codebook: Codes.
        probe: The linear probe, the yardstick, scored in the same pass.
        temperatures: Temperatures of the softmax over codes.
        batch: Images per batch; batches are cut at shard offsets.
        nearest: Images kept for each code.
        device: Device to compute on.
        label: Label of the progress events.
        folder: Folder for memory-mapped float32 files of scores, which must outlive the result; None: use memory.
        on_event: Receives progress after each batch.

    Raises:
        ShapeError: d differs from the codebook's, or the split is empty. DataError: A token holds NaN or infinity.
        OSError: The disk has no room for the scores.
    """
    refuse_empty(store)  # before any file is created
    codebook, probe = codebook.to(device), probe.to(device)
    mine = own_images(store.n)
    n = mine.stop - mine.start
    scores = tuple(_room((n, codebook.k), folder, number, device) for number in range(len(temperatures)))
    logits: list[Tensor] = []
    best = NearestImages.empty(codebook.k, nearest, device)
    done = 0
    for tokens in stream_tokens(store, batch, device, images=mine, label=label, on_event=on_event):
        similarity = codebook.similarity(tokens)
        for kept, temperature in zip(scores, temperatures, strict=True):
            background = codebook.background(tokens, temperature)
            kept[done : done + len(tokens)] = pooled(competition(similarity, temperature, background))
        logits.append(probe.of_images(tokens))
        best = best.with_images(similarity, mine.start + done)
        done += len(tokens)
    return ScoredSplit(scores, torch.cat(logits), best.over_ranks(), store.labels[mine].to(device), mine.start)


def score_source(
    source: TokenSource, codebook: Codebook, temperatures: Sequence[float], batch: int, folder: Path | None = None
) -> tuple[Float[Tensor, "n k"], ...]:
    """Presence scores of all images of any token source, for each temperature, on the codebook's device.

    Args:
        source: Patch tokens.
        codebook: Codes.
        temperatures: Temperatures of the softmax over codes.
        batch: Images per batch.
        folder: As for :func:`score_split`.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    device = codebook.codes.device
    scores = tuple(_room((source.n, codebook.k), folder, number, device) for number in range(len(temperatures)))
    done = 0
    for images in image_batches(source, batch * source.t):
        tokens = source.tokens(images).to(device)
        similarity = codebook.similarity(tokens)
        for kept, temperature in zip(scores, temperatures, strict=True):
            background = codebook.background(tokens, temperature)
            kept[done : done + len(images)] = pooled(competition(similarity, temperature, background))
        done += len(images)
    return scores


def presence_scores(store: FeatureStore, codebook: Codebook, temperature: float, batch: int) -> Float[Tensor, "n k"]:
    """Presence scores of the images of a split for one temperature, on the codebook's device.

    In a distributed run every process scores the images of its own part.

    Args:
        store: Patch tokens of the split, at least one image.
        codebook: Codes.
        temperature: Temperature of the softmax over codes.
        batch: Images per batch; batches are cut at shard offsets.
    """
    batches = stream_tokens(store, batch, codebook.codes.device, images=own_images(store.n))
    return torch.cat([presence(tokens, codebook, temperature).scores for tokens in batches])


def _room(shape: tuple[int, int], folder: Path | None, number: int, device: torch.device) -> Float[Tensor, "n k"]:
    """Space for the scores of one temperature."""
    if folder is None:
        return torch.empty(shape, device=device)
    file, size = folder / f"{number}.f32", shape[0] * shape[1]
    reserve(file, 4 * size)
    return torch.from_file(str(file), shared=True, size=size).view(shape)
