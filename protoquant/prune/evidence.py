"""Scores the splits with the codes of a step, in one streaming pass or from cosines held in memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, pooled
from protoquant.codebook.rest_codes import Rest
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.features.tokens import PatchTokens
from protoquant.head.class_weights import ClassWeights


@dataclass(frozen=True)
class PruningEvidence:
    """The scores of a split.

    Attributes:
        scores: Presence of every code (n, k); 0 for a removed one.
        labels: Class of every image (n).
        counts: Number of patch tokens nearest to each code (k); None if they were not counted.
        class_weights: Weights of the images of each class in every mean over these images; None: all count the same.
    """

    scores: Float[Tensor, "n k"]
    labels: Int64[Tensor, " n"]
    counts: Int64[Tensor, " k"] | None = None
    class_weights: ClassWeights | None = None

    @property
    def weights(self) -> Float[Tensor, " n"] | None:
        """Weight of every image, of mean 1; None: all count the same."""
        return None if self.class_weights is None else self.class_weights.of_images(self.labels)

    def rows(self, images: Int64[Tensor, " m"]) -> "PruningEvidence":
        """Select some images, which may repeat; the counts remain those of all images."""
        return replace(self, scores=self.scores[images], labels=self.labels[images])


Scored = Mapping[str, PruningEvidence]
Rescore = Callable[[Int64[Tensor, " m"], Rest | None], Scored]
"""Scores every split with only some of the codes, and any rest codes, in the softmax; other codes' columns are 0."""


@dataclass(frozen=True)
class PresenceScorer:
    """Scores splits from their stores, with one pass over the tokens per call.

    At most one batch of cosines is in memory, unless ``held`` has those of whole splits; a call without rest codes
    then reads no token.

    Attributes:
        stores: The splits by name.
        codebook: All codes, without rest codes.
        temperature: Temperature of the softmax over codes.
        batch: Number of images in a batch.
        device: Device to compute on.
        on_event: Receives progress.
        class_weights: Weights with which the head was fitted to train; every other split compares heads, so that all
            its classes count the same. None: all images count the same.
        held: Cosines of each split by name, from :meth:`holding`.
    """

    stores: Mapping[str, FeatureStore]
    codebook: Codebook
    temperature: float
    batch: int
    device: torch.device
    on_event: OnEvent
    class_weights: ClassWeights | None = None
    held: Mapping[str, Float[Tensor, "n t k"]] | None = None

    def __call__(self, kept: Int64[Tensor, " m"], rest: Rest | None = None) -> Scored:
        """Score every split with only the kept codes, and any rest codes, in the softmax.

        Args:
            kept: Remaining codes, in order.
            rest: Rest codes that compete in place of the others; None for none.

        Raises:
            ShapeError: d differs from the codebook's, or a split is empty.
            DataError: A token holds NaN or infinity.
        """
        return {name: self._split(name, kept, rest) for name in self.stores}

    def holding(self, most: float) -> "PresenceScorer":
        """A scorer with the cosines of all splits in memory if they take at most ``most`` bytes; else this one."""
        size = sum(store.n * store.t * self.codebook.k * 4 for store in self.stores.values())
        if size > most:
            return self
        held = {
            name: torch.cat([self.codebook.similarity(tokens) for tokens in self.batches(name)]) for name in self.stores
        }
        return replace(self, held=held)

    def _split(self, name: str, kept: Int64[Tensor, " m"], rest: Rest | None) -> PruningEvidence:
        store, k = self.stores[name], self.codebook.k
        scores = torch.zeros(store.n, k, device=self.device)
        counts = torch.zeros(k, dtype=torch.int64, device=self.device)
        first = 0
        for cosines, background in self._cosines(name, kept, rest):
            after = first + len(cosines)
            scores[first:after, kept] = pooled(competition(cosines, self.temperature, background))
            nearest = kept.to(self.device)[cosines.argmax(dim=-1).flatten()]
            counts += torch.bincount(nearest, minlength=k)
            first = after
        fitting = self.class_weights
        weights = fitting if fitting is None or name == "train" else fitting.judging
        return PruningEvidence(scores, store.labels.to(self.device), counts, weights)

    def _cosines(
        self, name: str, kept: Int64[Tensor, " m"], rest: Rest | None
    ) -> Iterator[tuple[Float[Tensor, "b t m"], Float[Tensor, "b t"] | None]]:
        """Cosines with the kept codes, batch by batch, and the rest codes' part of the softmax."""
        if self.held is not None and rest is None:
            everything = len(kept) == self.codebook.k
            for part in torch.split(self.held[name], self.batch):
                yield part if everything else part[..., kept], None
            return
        codebook = self.codebook.only(kept, None if rest is None else rest.to(self.device))
        for tokens in self.batches(name):
            yield codebook.similarity(tokens), codebook.background(tokens, self.temperature)

    def batches(self, name: str) -> Iterator[PatchTokens]:
        """Stream the tokens of a split on the device."""
        return stream_tokens(
            self.stores[name], self.batch, self.device, label=f"presence, {name}", on_event=self.on_event
        )
