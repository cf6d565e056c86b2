"""Where and how surely every code is found in the images of a split, from their stored tokens."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.core.events import OnEvent
from protoquant.features.store.dtypes import DTYPES, pack, unpack
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.features.tokens import LayeredTokens, PatchTokens
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence


@dataclass(frozen=True)
class Sightings:
    """Presence and place of every code in n images, in the order of the store.

    Attributes:
        image_ids: Id of each image.
        labels: Its true class (n).
        scores: Presence of every code (n, k), in [0, 1].
        cells: The grid cell with that presence (n, k), counted row by row; the first on a tie.
        logits: Class scores of the model (n, c).
    """

    image_ids: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "n k"]
    cells: Int[np.ndarray, "n k"]
    logits: Float[np.ndarray, "n c"]

    @property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The class of the largest score; the lower index on a tie."""
        best: Int[np.ndarray, " n"] = self.logits.argmax(axis=1)
        return best


def as_stored(tokens: PatchTokens, store: FeatureStore) -> PatchTokens:
    """Round fresh tokens as a store rounds its own, so that what differs between the two is the image."""
    dtype = next(name for name, held in DTYPES.items() if held == store.dtype)
    if isinstance(tokens, LayeredTokens):
        return tokens.mapped(lambda part: _rounded(part, dtype))
    return _rounded(tokens, dtype)


def _rounded(tokens: Float[Tensor, "n t d"], dtype: str) -> Float[Tensor, "n t d"]:
    return unpack(pack(tokens.cpu(), dtype))[:].to(tokens.device)


def look_for_prototypes(store: FeatureStore, bundle: Bundle, device: torch.device, on_event: OnEvent) -> Sightings:
    """Look for every code in every image, one image at a time, so that no number depends on the images beside it.

    Args:
        store: Features of the split; read one shard at a time.
        bundle: The model; the result takes 8 bytes for each image and code.
        device: Device to compute on.
        on_event: Receives progress after each image.

    Raises:
        ShapeError: The split is empty.
    """
    images = stream_tokens(store, 1, device, label=f"look, {store.path.name}", on_event=on_event)
    return sightings_of(images, store.image_ids, store.labels.numpy(), bundle, device)


def sightings_of(
    images: Iterable[PatchTokens],
    image_ids: tuple[str, ...],
    labels: Int[np.ndarray, " n"],
    bundle: Bundle,
    device: torch.device,
) -> Sightings:
    """Look for every code in the patch tokens of images.

    Args:
        images: Patch tokens of one image after the other, on the device.
        image_ids: Their ids.
        labels: Their true classes.
        bundle: The model; the result takes 8 bytes for each image and code.
        device: Device to compute on.
    """
    codebook, head, n = bundle.codebook.to(device), bundle.head.cpu().double(), len(image_ids)
    scores = np.empty((n, codebook.k), dtype=np.float32)
    cells = np.empty((n, codebook.k), dtype=np.int32)
    logits = np.empty((n, len(bundle.classes)))
    with torch.inference_mode():
        for position, tokens in enumerate(images):
            found = presence(tokens, codebook, bundle.temperature)
            scores[position], cells[position] = found.scores[0].cpu().numpy(), found.cells[0].cpu().numpy()
            logits[position] = head_logits(found.scores.cpu().double(), head)[0].numpy()
    return Sightings(image_ids, labels, scores, cells, logits)
