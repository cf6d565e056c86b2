"""One pass over a feature store, in the order of its images."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.errors import ShapeError
from protoquant.core.events import OnEvent, ProgressEvent, ignore
from protoquant.features.store.store import FeatureStore


def stream_tokens(
    store: FeatureStore,
    batch: int,
    device: torch.device,
    *,
    images: slice | None = None,
    label: str = "",
    on_event: OnEvent = ignore,
) -> Iterator[Float[Tensor, "b t d"]]:
    """Read a run of images once, batch by batch, from one memory-mapped shard after the other.

    Batches are cut at shard offsets, so that none is put together from two files. Where the cut must not depend on
    the shards, or images come in another order, the batches are those of :mod:`protoquant.codebook.tokens`.

    Args:
        store: Patch tokens of a split.
        batch: Images at once.
        device: Where the tokens are wanted.
        images: The run; None: all images.
        label: What progress is called.
        on_event: Told at the start, and after every batch once it is worked on.

    Yields:
        Tokens in the stored dtype, those of int8 in float32; do not write to them.

    Raises:
        ShapeError: The store holds no image. ArtifactError: A shard is missing or damaged.
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
        ShapeError: It holds none.
    """
    if store.n == 0:
        raise ShapeError(f"{store.path} holds no image; check the shares of prepare")
