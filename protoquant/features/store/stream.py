"""Streams the tokens of a feature store once, in the order of its images."""

from collections.abc import Iterator

import torch

from protoquant.core.errors import ShapeError
from protoquant.core.events import OnEvent, ProgressEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.features.tokens import PatchTokens


def stream_tokens(
    store: FeatureStore,
    batch: int,
    device: torch.device,
    *,
    images: slice | None = None,
    label: str = "",
    on_event: OnEvent = ignore,
) -> Iterator[PatchTokens]:
    """Read a range of images once, batch by batch, from one memory-mapped shard after another.

    Batches end at shard boundaries, so none is assembled from two files. If the cut must not depend on the shards, or
    images come in another order, use the batches of :mod:`protoquant.codebook.tokens`.

    Args:
        store: Patch tokens of a split.
        batch: Images in a batch.
        device: Device to move the tokens to.
        images: The range; None for all images.
        label: Label of the progress.
        on_event: Receives progress at the start and after the consumer is done with each batch.

    Yields:
        Tokens in the stored dtype, int8 tokens in float32; do not write to them.

    Raises:
        ShapeError: The store holds no images. ArtifactError: A shard is missing or damaged.
    """
    refuse_empty(store)
    run = images or slice(0, store.n)
    done, total = 0, run.stop - run.start
    on_event(ProgressEvent(label, done, total))
    for place, shard in store.shards(run):
        first, after = max(run.start, place.start), min(run.stop, place.stop)
        for start in range(first, after, batch):
            tokens = shard[start - place.start : min(start + batch, after) - place.start]
            yield tokens.to(device)
            done += len(tokens)
            on_event(ProgressEvent(label, done, total))


def refuse_empty(store: FeatureStore) -> None:
    """Refuse a store without images.

    Raises:
        ShapeError: The store holds no images.
    """
    if store.n == 0:
        raise ShapeError(f"{store.path} holds no image; check the shares of prepare")
