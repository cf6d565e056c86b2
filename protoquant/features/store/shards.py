"""Jobs for shards of patch tokens, and the worker that finds or computes them, here or on another machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from protoquant.features.config import ExtractConfig
from protoquant.features.decode import Source, batches
from protoquant.features.store.cache import CachedShard, FeatureCache
from protoquant.features.store.dtypes import largest, pack
from protoquant.features.store.shard_key import shard_keys
from protoquant.features.store.shared_cache import SHARD, OpenObjects, SharedCache


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
        """Whether the cache has an entry for a shard, complete or damaged."""
        return self._held(job) is not None

    def path(self, job: ShardJob) -> Path:
        """The path of a shard in the cache."""
        return self.cache.root / (self._held(job) or self.key(job)) / SHARD

    def find(self, job: ShardJob, *, needed: bool = False) -> CachedShard | None:
        """Find a shard here or in the shared cache without computing it; None if neither has it or nothing is shared.

        Args:
            job: The shard.
            needed: Whether the run cannot go on without it. Its images are then counted already, and a shared cache
                that has just failed is asked again.
        """
        if self.shared is None:
            return None
        keys = self._keys(job)
        asked = (self.cache.find(key, self._on_event, self.shared, patient=not needed) for key in keys)
        found = next((shard for shard in asked if shard is not None), None)
        if found is not None and not needed:
            self._on_images(len(job.sources))
        return found

    def publish(self, job: ShardJob) -> str:
        """Upload a local shard, even just after a failure; return why it failed, or an empty string."""
        return self.shared.publish(self.key(job), self.path(job).parent, patient=False) if self.shared else ""

    def __call__(self, job: ShardJob) -> CachedShard:
        """Find or compute one shard.

        Raises:
            DataError: An image changed since prepare, or a value does not fit the dtype.
        """
        shard = self._former(job) or self.cache.shard(
            self.key(job), self.backbone.spec.name, lambda: self._compute(job), self._on_event, self.shared
        )
        if not shard.computed:
            self._on_images(len(job.sources))
        return shard

    def key(self, job: ShardJob) -> str:
        """The key of a shard's content."""
        return self._keys(job)[0]

    def close(self) -> None:
        """Drop the images that wait to be decoded."""
        self._pool.shutdown(cancel_futures=True)

    def _keys(self, job: ShardJob) -> tuple[str, ...]:
        return shard_keys(self.config, self.backbone, [source.digest for source in job.sources], job.view)

    def _held(self, job: ShardJob) -> str | None:
        """The key under which the cache has a shard."""
        return next((key for key in self._keys(job) if (self.cache.root / key).exists()), None)

    def _former(self, job: ShardJob) -> CachedShard | None:
        """The shard under an earlier version's key, local or shared; None if there is none or a newer one is here."""
        key, *former = self._keys(job)
        if (self.cache.root / key).exists():
            return None
        kept = former if self.shared else [one for one in former if (self.cache.root / one).exists()]
        return next(filter(None, (self.cache.find(one, self._on_event, self.shared) for one in kept)), None)

    def _compute(self, job: ShardJob) -> dict[str, Tensor]:
        parts: list[dict[str, Tensor]] = []
        start = 0
        for real, pixels in batches(
            job.sources, self.backbone, batch=self.config.batch, pool=self._pool, view=job.view
        ):
            tokens = self.backbone.features(self.backbone.normalise(pixels)).tokens[:real]
            _check_range(tokens, self.config.dtype, job.sources[start : start + real])
            parts.append(pack(tokens.cpu(), self.config.dtype))
            start += real
            self._on_images(real)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


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
