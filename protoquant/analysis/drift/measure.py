"""Measurements of a folder of new images by a model: presence of prototypes, predicted classes, abstentions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, ProgressEvent
from protoquant.model.classifier import BATCH, Model
from protoquant.model.folder import Bad, Opened, opened_ahead, stacked
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.model.reference import BINS


@dataclass(frozen=True)
class TopImage:
    """The new image in which a prototype is most present: its name, the presence, and (row, col) of the cell."""

    image: str
    score: float
    cell: tuple[int, int]


@dataclass(frozen=True)
class Measured:
    """The measurements of new images by a model.

    Attributes:
        images: Number of images that could be read.
        counts: Images by prototype and bin of presence (p, BINS); the prototypes in the order of the reference.
        predicted: Number of images by predicted class (c).
        abstentions: Number of images in which no known part is seen; 0 for a model that never abstains.
        nearest: For each prototype the image with its highest presence, the first on a tie.
        bad: Images that cannot be read.
    """

    images: int
    counts: Int[np.ndarray, "p b"]
    predicted: Int[np.ndarray, " c"]
    abstentions: int
    nearest: tuple[TopImage, ...]
    bad: tuple[Bad, ...]


def measure(model: Model, *, root: Path, names: Sequence[str], workers: int, on_event: OnEvent) -> Measured:
    """Measure images batch by batch, in memory that does not grow with their number.

    Args:
        model: The model; it is only read.
        root: The folder of the images.
        names: Their paths, relative to it.
        workers: Threads that decode.
        on_event: Receives progress.

    Raises:
        DataError: None of the images can be read.
    """
    prototypes = model.bundle.prototypes
    tally = _Tally(prototypes, len(model.classes))
    head, below = model.bundle.head.cpu().double(), model.bundle.abstain_below
    on_event(ProgressEvent("drift", 0, len(names)))
    done = 0
    with opened_ahead(root, names, model.backbone, workers=workers, depth=2 * BATCH) as images:
        for batch in _batches(images):
            good = [image for image in batch if isinstance(image, Opened)]
            tally.bad += [image for image in batch if isinstance(image, Bad)]
            if good:
                scores, cells = _look(model, good)
                logits = head_logits(scores.double(), head)
                tally.add(good, scores[:, prototypes], cells[:, prototypes], model.bundle.grid[1])
                tally.predicted += np.bincount(logits.argmax(dim=1).numpy(), minlength=len(model.classes))
                tally.abstentions += 0 if below is None else int((logits.amax(dim=1) < below).sum())
            done += len(batch)
            on_event(ProgressEvent("drift", done, len(names)))
    if not tally.images:
        first = tally.bad[0]
        raise DataError(f"none of the {len(names):,} images of {root} can be read; {first.name} {first.detail}")
    return tally.result()


class _Tally:
    """Counts that grow batch by batch."""

    def __init__(self, prototypes: Int[Tensor, " p"], classes: int) -> None:
        self.images = 0
        self.abstentions = 0
        self.bad: list[Bad] = []
        self.counts = np.zeros((len(prototypes), BINS), dtype=np.int64)
        self.predicted = np.zeros(classes, dtype=np.int64)
        self.nearest = [TopImage("", -1.0, (0, 0))] * len(prototypes)

    def add(
        self, images: Sequence[Opened], scores: Float[Tensor, "n p"], cells: Int[Tensor, "n p"], columns: int
    ) -> None:
        """Count a batch."""
        self.images += len(images)
        bins = (scores.numpy() * BINS).astype(np.int64).clip(0, BINS - 1)
        rows = np.arange(len(self.counts)) * BINS
        self.counts += np.bincount((bins + rows).ravel(), minlength=self.counts.size).reshape(self.counts.shape)
        best, first = scores.max(dim=0)
        for place, (score, image) in enumerate(zip(best.tolist(), first.tolist(), strict=True)):
            if score > self.nearest[place].score:
                cell = divmod(int(cells[image, place]), columns)
                self.nearest[place] = TopImage(images[image].name, score, cell)

    def result(self) -> Measured:
        """The measurements so far."""
        return Measured(
            self.images, self.counts, self.predicted, self.abstentions, tuple(self.nearest), tuple(self.bad)
        )


@torch.inference_mode()
def _look(model: Model, images: Sequence[Opened]) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    tokens = model.backbone.features(model.backbone.normalise(stacked(images))).tokens
    found = presence(tokens, model.codebook, model.bundle.temperature)
    return found.scores.cpu(), found.cells.cpu()


def _batches(images: Iterator[Opened | Bad]) -> Iterator[list[Opened | Bad]]:
    while batch := list(islice(images, BATCH)):
        yield batch
