"""Consistency of the parts that prototypes look at, and their stability under noise (Huang et al.)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from protoquant.core.events import track
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.consistency import (
    CONSISTENT,
    Looks,
    Pairs,
    class_pairs,
    consistency,
    first_maximum,
    noise_of,
    stability,
)
from protoquant.evaluation.places.box import cell_boxes, region_around
from protoquant.evaluation.places.part_view import PartView
from protoquant.evaluation.sightings import as_stored
from protoquant.evaluation.subject import GroupResult, Subject
from protoquant.features.tokens import PatchTokens
from protoquant.model.presence import look

TABLE = "consistency.csv"


def measure(subject: Subject, split: str) -> GroupResult:
    """Find the parts around each prototype's maximum in every image of its classes, without noise and with it."""
    pairs = class_pairs(subject.head)
    looks = look_around(subject, split, pairs)
    shares, part = consistency(looks, looks.hits)
    by_chance, _ = consistency(looks, looks.random)
    stable = stability(looks)
    numbers = {
        "consistent": subject.estimate(f"consistency-{split}-consistent", _consistent(shares)),
        "random_cells": subject.estimate(f"consistency-{split}-random", _consistent(by_chance)),
        "stable": subject.estimate(f"consistency-{split}-stable", stable),
        "share": subject.estimate(f"consistency-{split}-share", shares),
    }
    (rows, cols), (height, width) = subject.bundle.grid, subject.bundle.backbone.preprocessing.crop
    names = np.array([*subject.parts.schema.parts, ""], dtype=object)
    table = pd.DataFrame(
        {
            "region": "73/224",
            "grid": f"{rows}x{cols}",
            "view": f"{height}x{width} {subject.bundle.backbone.preprocessing.mode}",
            "class": np.array(subject.bundle.classes, dtype=object)[pairs.label],
            "code": pairs.code,
            "weight": subject.head[pairs.label, pairs.code],
            "images": looks.images,
            "part": names[part],
            "share": shares,
            "random_cells": by_chance,
            "stable": stable,
        }
    )
    return GroupResult(numbers, {TABLE: table})


def look_around(subject: Subject, split: str, pairs: Pairs) -> Looks:
    """Find the parts around each prototype's maximum, in every annotated image of the class.

    Maps without noise come from stored tokens; images with noise take a forward pass of their own, rounded alike.

    Args:
        subject: The model and its images.
        split: The split.
        pairs: Classes with their prototypes.

    Raises:
        DataError: An image is missing, has changed, or cannot be decoded.
    """
    around, m = _Around(subject, split, pairs, subject.part_view(split)), len(subject.parts.schema.parts)
    found = list(around.images())
    pair = np.concatenate([np.zeros(0, dtype=np.int64), *(one[0] for one in found)])
    none = np.zeros((0, m), dtype=bool)
    hits, visible, shaken, random = (np.concatenate([none, *(one[number] for one in found)]) for number in range(1, 5))
    return Looks(pair, hits, visible, shaken, random, len(pairs))


@dataclass(frozen=True)
class _Around:
    """One pass over the images of a split."""

    subject: Subject
    split: str
    pairs: Pairs
    view: PartView

    def images(self) -> Iterator[tuple[np.ndarray, ...]]:
        """The columns of ``Looks`` for one image after the other."""
        subject, store = self.subject, self.subject.store(self.split)
        annotated, labels = set(self.view.parts.image_ids), store.labels.tolist()
        wanted = [
            position
            for position, image_id in enumerate(store.image_ids)
            if image_id in annotated and len(self.pairs.of(labels[position]))
        ]
        for position in track(wanted, f"consistency, {self.split}", len(wanted), "images", subject.on_event):
            pair, image_id = self.pairs.of(labels[position]), store.image_ids[position]
            seen, codes = self.view.of(image_id), self.pairs.code[pair]
            stored = store.tokens([position]).to(subject.device)
            visible = np.broadcast_to(seen.visible, (len(pair), len(seen.visible)))
            shaken_tokens = self._noisy_tokens(image_id)
            regions = (self._regions(stored, codes), self._regions(shaken_tokens, codes), self._random(image_id, codes))
            hits, shaken, by_chance = (seen.hits(boxes) & visible for boxes in regions)
            yield pair, hits, visible, shaken, by_chance

    def _noisy_tokens(self, image_id: str) -> PatchTokens:
        """Tokens of an image with noise; the image alone is a batch, so that no number depends on others."""
        backbone, table = self.subject.backbone, self.subject.images_of(self.split)
        image = backbone.batch([table.image(image_id, at_least=backbone.spec.preprocessing.at_least)])
        noise = noise_of(tuple(image.shape[1:]), self._stream("noise", image_id))
        tokens = backbone.features(image + noise.to(image.device)).tokens
        return as_stored(tokens, self.subject.store(self.split))

    def _regions(self, tokens: PatchTokens, codes: Int[np.ndarray, " r"]) -> Float[np.ndarray, "r 4"]:
        """The regions around the maxima of some codes' maps in one image."""
        bundle = self.subject.bundle
        with torch.inference_mode():
            shares = look(tokens, bundle.codebook.to(self.subject.device), bundle.temperature).shares
            maps = shares[0].cpu().numpy()[:, codes].T.reshape(len(codes), *bundle.grid)
        places = first_maximum(maps, self.view.size)
        return np.array([region_around(row, col, self.view.size) for row, col in places.tolist()])

    def _random(self, image_id: str, codes: Int[np.ndarray, " r"]) -> Float[np.ndarray, "r 4"]:
        """Regions around the middle of cells drawn at random."""
        boxes = cell_boxes(self.subject.bundle.grid, self.view.size)
        left, top, right, bottom = boxes[self._stream("random", image_id).integers(len(boxes), size=len(codes))].T
        middles = np.stack([top + bottom, left + right], axis=1) // 2
        return np.array([region_around(int(row), int(col), self.view.size) for row, col in middles])

    def _stream(self, name: str, image_id: str) -> np.random.Generator:
        return numpy_generator(self.subject.seed, "evaluate", "consistency", name, image_id)


def _consistent(shares: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
    """1.0 for a pair that is consistent, else 0.0; NaN without images."""
    return np.where(np.isnan(shares), np.nan, shares >= CONSISTENT)
