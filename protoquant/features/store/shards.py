"""Jobs for shards of patch tokens, and the worker that finds or computes them, here or on another machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, ignore
from protoquant.core.runtime import Runtime
from protoquant.features.augment import View
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import LAST, ExtractConfig
from protoquant.features.decode import Source, batches
from protoquant.features.store.cache import CachedShard, FeatureCache
from protoquant.features.store.dtypes import largest, pack
from protoquant.features.store.shard_key import shard_keys
from protoquant.features.store.shared_cache import SHARD, OpenObjects, SharedCache
from protoquant.features.tokens import maps_of

Layers = tuple[CachedShard, ...]
"""The files of a shard, one for each layer."""


@dataclass(frozen=True)
class ShardJob:
    """The images of a shard, in order, and the view of them; None for the plain images."""

    sources: Sequence[Source]
    view: View | None = None


class ShardWorker:
    """Finds shards in the cache, or computes them.

    Args:
        config: The ``extract`` section.
        backbone: Computes the tokens.
        cache: Folder of finished shards.
        workers: Threads that decode images, at least 1.
        shared: Opens the cache for machines without a common disk; None for none.
        on_event: Receives a message about each damaged shard.
        on_images: Receives the number of images in each finished batch or cached shard.
    """

    def __init__(
        self,
        config: ExtractConfig,
        backbone: Backbone,
        cache: Path,
        workers: int,
        *,
        shared: OpenObjects | None = None,
        on_event: OnEvent = ignore,
        on_images: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.config, self.backbone, self.cache, self.workers = config, backbone, FeatureCache(cache), workers
        self.shared = None if shared is None else SharedCache(shared, on_event)
        self.layers = backbone.spec.layers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._on_event, self._on_images = on_event, on_images

    @property
    def again(self) -> Callable[[], ShardWorker]:
        """A function that makes an equal worker in another process with a device of the same kind."""
        return partial(
            _make,
            config=self.config,
            device=self.backbone.device.type,
            threads=torch.get_num_threads(),
            cache=self.cache.root.absolute(),
            workers=self.workers,
            shared=None if self.shared is None else self.shared.open_objects,
        )

    def is_cached(self, job: ShardJob) -> bool:
        """Whether the cache has an entry for each layer of a shard, complete or damaged."""
        return all(self._held(job, layer) is not None for layer in self.layers)

    def here(self, job: ShardJob, shards: Layers) -> Layers:
        """The same shards with the paths that they have in this machine's cache."""
        paths = (self._path(job, layer) for layer in self.layers)
        return tuple(replace(shard, path=path, digest="") for shard, path in zip(shards, paths, strict=True))

    def find(self, job: ShardJob, *, needed: bool = False) -> Layers | None:
        """Find a shard here or in the shared cache without computing it; None if a layer is in neither, or none shared.

        Args:
            job: The shard.
            needed: Whether the run cannot go on without it. Its images are then counted already, and a shared cache
                that has just failed is asked again.
        """
        if self.shared is None:
            return None
        found = tuple(self._found(job, layer, patient=not needed) for layer in self.layers)
        if not all(found):
            return None
        if not needed:
            self._on_images(len(job.sources))
        return tuple(shard for shard in found if shard is not None)

    def publish(self, job: ShardJob) -> str:
        """Upload a local shard, even just after a failure; return why it failed, or an empty string."""
        if self.shared is None:
            return ""
        reasons = (
            self.shared.publish(self.key(job, layer), self._path(job, layer).parent, patient=False)
            for layer in self.layers
        )
        return next(filter(None, reasons), "")

    def __call__(self, job: ShardJob) -> Layers:
        """Find or compute one shard; all layers that no cache has come from one pass of the backbone.

        Returns:
            The file of each layer.

        Raises:
            DataError: An image changed since prepare, or a value does not fit the dtype.
        """
        computed: dict[str, dict[str, Tensor]] = {}

        def tensors(layer: str) -> dict[str, Tensor]:
            if layer not in computed:
                computed.update(self._compute(job, {layer, *self._missing(job)}))
            return computed.pop(layer)

        shards = tuple(self._shard(job, layer, partial(tensors, layer)) for layer in self.layers)
        if not any(shard.computed for shard in shards):
            self._on_images(len(job.sources))
        return shards

    def key(self, job: ShardJob, layer: str = LAST) -> str:
        """The key of a shard's content."""
        return self._keys(job, layer)[0]

    def close(self) -> None:
        """Drop the images that wait to be decoded."""
        self._pool.shutdown(cancel_futures=True)

    def _keys(self, job: ShardJob, layer: str) -> tuple[str, ...]:
        digests = [source.digest for source in job.sources]
        return shard_keys(self.config, self.backbone, digests, job.view, layer)

    def _held(self, job: ShardJob, layer: str) -> str | None:
        """The key under which the cache has a shard."""
        return next((key for key in self._keys(job, layer) if (self.cache.root / key).exists()), None)

    def _missing(self, job: ShardJob) -> set[str]:
        return {layer for layer in self.layers if self._held(job, layer) is None}

    def _path(self, job: ShardJob, layer: str) -> Path:
        return self.cache.root / (self._held(job, layer) or self.key(job, layer)) / SHARD

    def _found(self, job: ShardJob, layer: str, *, patient: bool) -> CachedShard | None:
        asked = (self.cache.find(key, self._on_event, self.shared, patient=patient) for key in self._keys(job, layer))
        return next(filter(None, asked), None)

    def _shard(self, job: ShardJob, layer: str, tensors: Callable[[], dict[str, Tensor]]) -> CachedShard:
        return self._former(job, layer) or self.cache.shard(
            self.key(job, layer), self.backbone.spec.name, tensors, self._on_event, self.shared
        )

    def _former(self, job: ShardJob, layer: str) -> CachedShard | None:
        """The shard under an earlier version's key, local or shared; None if there is none or a newer one is here."""
        key, *former = self._keys(job, layer)
        if (self.cache.root / key).exists():
            return None
        kept = former if self.shared else [one for one in former if (self.cache.root / one).exists()]
        return next(filter(None, (self.cache.find(one, self._on_event, self.shared) for one in kept)), None)

    def _compute(self, job: ShardJob, layers: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """The tensors of some layers of a shard."""
        parts: dict[str, list[dict[str, Tensor]]] = {layer: [] for layer in layers}
        start = 0
        for real, pixels in batches(
            job.sources, self.backbone, batch=self.config.batch, pool=self._pool, view=job.view
        ):
            maps = maps_of(self.backbone.features(self.backbone.normalise(pixels)).tokens)
            for layer, of_layer in zip(self.layers, maps, strict=True):
                if layer in parts:
                    tokens = of_layer[:real]
                    _check_range(tokens, self.config.dtype, job.sources[start : start + real])
                    parts[layer].append(pack(tokens.cpu(), self.config.dtype))
            start += real
            self._on_images(real)
        return {
            layer: {name: torch.cat([part[name] for part in packed]) for name in packed[0]}
            for layer, packed in parts.items()
        }


def _make(
    *, config: ExtractConfig, device: str, threads: int, cache: Path, workers: int, shared: OpenObjects | None
) -> ShardWorker:
    Runtime(device=device).torch_device(threads)
    return ShardWorker(config, Backbone.load(config, device), cache, workers, shared=shared)


def _check_range(tokens: Float[Tensor, "n t d"], dtype: str, sources: Sequence[Source]) -> None:
    """Refuse values that the stored dtype cannot hold, and name the image."""
    limit = largest(dtype)
    low, high = torch.aminmax(tokens)
    if -low <= limit and high <= limit:  # false for NaN
        return
    peaks = tokens.abs().flatten(1).amax(dim=1)
    image = int((~(peaks <= limit)).nonzero()[0])
    value = float(peaks[image])
    advice = "set extract.dtype to float32" if math.isfinite(value) else "choose another backbone"
    raise DataError(f"{sources[image].image_id}: the backbone gives {value:.3g}, which {dtype} cannot hold; {advice}")
