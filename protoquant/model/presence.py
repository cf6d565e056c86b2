"""Presence: how surely a code is somewhere in an image, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.errors import ShapeError
from protoquant.core.events import OnEvent, ProgressEvent
from protoquant.core.machine.disk import reserve
from protoquant.distributed.ranks import own_images, totals_over_ranks
from protoquant.features.store.store import FeatureStore
from protoquant.model.nearest_images import NearestImages


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
    """All that train needs of a split, from one pass over its tokens; of a distributed run, of this process's images.

    Attributes:
        scores: Presence (n, k) for each temperature, in the order asked for.
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
        """Images of the whole split."""
        return round(totals_over_ranks(len(self.labels))[0])

    def on(self, images: Int64[Tensor, " m"]) -> "ScoredSplit":
        """The same of some images, by position; the images nearest to each code stay those of the whole split."""
        images = images[(images >= self.first) & (images < self.first + len(self.labels))] - self.first
        scores = tuple(part[images] for part in self.scores)
        return ScoredSplit(scores, self.probe_logits[images], self.nearest, self.labels[images])


@dataclass(frozen=True)
class Look:
    """Images held against a codebook, cell by cell.

    Attributes:
        similarity: Cosine with every code (n, t, k), in [-1, 1].
        shares: Each code's share in the softmax at the cell (n, t, k), in [0, 1].
    """

    similarity: Float[Tensor, "n t k"]
    shares: Float[Tensor, "n t k"]

    def pooled(self) -> Presence:
        """The presence of every code: its largest share."""
        scores, cells = self.shares.max(dim=1)
        return Presence(scores, cells)


def competition(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Float[Tensor, "n t k"]:
    """Softmax over the codes at every cell: a code counts as far as it beats the others there.

    Every share of this library is computed here. Whoever has tokens and a codebook calls :func:`look`, which does
    not forget the rest codes.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: > 0; the lower, the more the best code takes all.
        background: What rest codes add to the softmax, from ``Codebook.background``; None without rest codes.

    Returns:
        Shares in [0, 1] that sum to 1 over the codes, or to less by the share of the background.
    """
    scaled = similarity / temperature
    if background is None:
        return torch.softmax(scaled, dim=-1)
    total = torch.logaddexp(torch.logsumexp(scaled, dim=-1), background)
    return (scaled - total[..., None]).exp_()


def look(tokens: Float[Tensor, "n t d"], codebook: Codebook, temperature: float) -> Look:
    """Similarities and shares of images.

    Args:
        tokens: Patch tokens without prefix tokens, any scale, float16 or float32.
        codebook: Codes on the tokens' device.
        temperature: > 0.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    similarity = codebook.similarity(tokens)
    return Look(similarity, competition(similarity, temperature, codebook.background(tokens, temperature)))


def pool(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Presence:
    """Presence scores of images whose similarities are known.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: > 0.
        background: As for :func:`competition`.

    Source:
        ProtoQuant (arXiv 2602.06592): softmax over prototypes, then maximum over locations.
    """
    return Look(similarity, competition(similarity, temperature, background)).pooled()


def presence(tokens: Float[Tensor, "n t d"], codebook: Codebook, temperature: float) -> Presence:
    """Presence scores of images.

    Args:
        tokens: Patch tokens without prefix tokens, any scale, float16 or float32.
        codebook: Codes on the tokens' device.
        temperature: > 0.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    return look(tokens, codebook, temperature).pooled()


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

    No more than one batch of cosines (batch, t, k) is held; what remains is (n, k) for each temperature. In a
    distributed run every process scores the images of its own part.

    Args:
        store: Patch tokens of the split.
        codebook: Codes.
        probe: The yardstick, scored on the way.
        temperatures: Of the softmax over codes.
        batch: Images at once; batches are cut at shard offsets.
        nearest: Images kept for each code.
        device: Where to compute.
        label: What progress is called.
        folder: Scores go into memory-mapped files here, float32, which must outlive the result; None: into memory.
        on_event: Told after every batch.

    Raises:
        ShapeError: d differs from the codebook's, or the split is empty. DataError: A token holds NaN or infinity.
        OSError: The disk has no room for the scores.
    """
    if store.n == 0:
        raise ShapeError(f"{store.path} holds no image; check the shares of prepare")
    codebook, probe = codebook.to(device), probe.to(device)
    mine = own_images(store.n)
    n = mine.stop - mine.start
    scores = tuple(_room((n, codebook.k), folder, number, device) for number in range(len(temperatures)))
    logits: list[Tensor] = []
    best = NearestImages.empty(codebook.k, nearest, device)
    on_event(ProgressEvent(label, 0, n))
    done = 0
    for part in _batches(store, mine, batch):
        tokens = part.to(device)
        similarity = codebook.similarity(tokens)
        for kept, temperature in zip(scores, temperatures, strict=True):
            background = codebook.background(tokens, temperature)
            kept[done : done + len(tokens)] = competition(similarity, temperature, background).amax(dim=1)
        logits.append(probe.logits(tokens.float().mean(dim=1)))
        best = best.with_images(similarity, mine.start + done)
        done += len(tokens)
        on_event(ProgressEvent(label, done, n))
    return ScoredSplit(scores, torch.cat(logits), best.over_ranks(), store.labels[mine].to(device), mine.start)


def presence_scores(store: FeatureStore, codebook: Codebook, temperature: float, batch: int) -> Float[Tensor, "n k"]:
    """Presence scores of the images of a split for one temperature, on the codebook's device.

    In a distributed run every process scores the images of its own part.

    Args:
        store: Patch tokens of the split, at least one image.
        codebook: Codes.
        temperature: Of the softmax over codes.
        batch: Images at once; batches are cut at shard offsets.
    """
    device = codebook.codes.device
    parts = _batches(store, own_images(store.n), batch)
    return torch.cat([presence(tokens.to(device), codebook, temperature).scores for tokens in parts])


def _batches(store: FeatureStore, images: slice, batch: int) -> Iterator[Float[Tensor, "b t d"]]:
    """Read a run of images; batches are cut at shard offsets."""
    for place, shard in store.shards(images):
        first, after = max(images.start, place.start), min(images.stop, place.stop)
        for start in range(first, after, batch):
            yield shard[start - place.start : min(start + batch, after) - place.start]


def _room(shape: tuple[int, int], folder: Path | None, number: int, device: torch.device) -> Float[Tensor, "n k"]:
    """Space for the scores of one temperature."""
    if folder is None:
        return torch.empty(shape, device=device)
    file, size = folder / f"{number}.f32", shape[0] * shape[1]
    reserve(file, 4 * size)
    return torch.from_file(str(file), shared=True, size=size).view(shape)
