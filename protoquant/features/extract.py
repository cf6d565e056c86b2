"""EXTRACT: from the table of images to one feature store for each split."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as remembered
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.artifacts import artifact_digest, digest_file, digest_json, write_table, writing
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent, ProgressEvent
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable
from protoquant.features.augment import View
from protoquant.features.backbone import Backbone
from protoquant.features.cache import SCHEMA, CachedShard, FeatureCache, link
from protoquant.features.config import ExtractConfig
from protoquant.features.decode import Source, batches
from protoquant.features.store import DTYPES, INDEX, KIND, StoreHeader, index_table, shard_name, view_name

_DECIDING_PACKAGES = ("pillow", "timm", "torch")
_VIEW_SOURCE = "features/augment.py"
_DECIDING_SOURCES = (
    "data/images.py",
    "data/pixels.py",
    "features/backbone.py",
    "features/build.py",
    "features/decode.py",
    "features/layout.py",
    "features/preprocessing.py",
    "features/weights.py",
)


@dataclass(frozen=True)
class ExtractResult:
    """What was extracted.

    Attributes:
        out: The artifact.
        n: Images of each split.
        views: Augmented views of each train image.
        t: Patch tokens of an image.
        d: Numbers in a token.
        grid: (h, w), in cells.
        computed: Shards that the backbone ran for.
        linked: Shards that were in the cache.
        seconds: Time of all shards, cached ones included.
    """

    out: Path
    n: Mapping[str, int]
    views: int
    t: int
    d: int
    grid: tuple[int, int]
    computed: int
    linked: int
    seconds: float


def extract(
    config: ExtractConfig,
    *,
    images: Path,
    root: Path,
    out: Path,
    cache: Path,
    device: torch.device | str,
    seed: int,
    workers: int,
    on_event: OnEvent,
) -> ExtractResult:
    """Run the frozen backbone once over every image, and every view of a train image, and store its patch tokens.

    Finished shards are kept in the cache, so that a run that was stopped continues from them. The tokens do not
    depend on the number of workers, on what is in the cache, or on how often the run was stopped.

    Args:
        config: The ``extract`` section.
        images: The artifact of ``prepare``.
        root: ``prepare.root``.
        out: The artifact: a feature store for each split.
        cache: Folder of finished shards.
        device: Where the backbone computes.
        seed: Decides the augmented views, and nothing where there are none.
        workers: Threads that decode images, at least 1.
        on_event: Hears of progress.

    Returns:
        The counts.

    Raises:
        ConfigError: The backbone is unknown. UsageError: Its weights cannot be had. ArtifactError: They do not fit.
        DataError: An image changed since prepare, or a value does not fit the dtype.
    """
    table = ImageTable.open(images, root)
    splits = {name: _sources(table.split(name)) for name in SPLITS}
    backbone = Backbone.load(config, device)
    views = _views(config, seed)
    total = sum(map(len, splits.values())) + len(views) * len(splits["train"])
    run = _Run(config, backbone, FeatureCache(cache), on_event, total)
    started = time.perf_counter()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        shards = {name: run.split(sources, pool) for name, sources in splits.items()}
        viewed = {view: run.split(splits["train"], pool, view) for view in views}
    seconds = time.perf_counter() - started
    header = StoreHeader(backbone.grid, backbone.d, config.dtype, config.shard, backbone.spec)
    with writing(out, "features", {"images": artifact_digest(images)}) as folder:
        for name, sources in splits.items():
            part = _Split(sources, header, artifact_digest(images / name))
            part.assemble(folder / name, shards[name], viewed if name == "train" else {})
    every = [shard for found in [*shards.values(), *viewed.values()] for shard in found]
    result = ExtractResult(
        out=out,
        n={name: len(sources) for name, sources in splits.items()},
        views=len(views),
        t=backbone.layout.t,
        d=backbone.d,
        grid=backbone.grid,
        computed=sum(shard.computed for shard in every),
        linked=sum(not shard.computed for shard in every),
        seconds=seconds,
    )
    on_event(MessageEvent(_sentence(result)))
    return result


class _Run:
    """One pass over all splits and views; counts the images for the progress."""

    def __init__(
        self, config: ExtractConfig, backbone: Backbone, cache: FeatureCache, on_event: OnEvent, total: int
    ) -> None:
        self.config = config
        self.backbone = backbone
        self.cache = cache
        self.on_event = on_event
        self.done = 0
        self.total = total
        self._advance(0)

    def split(self, sources: Sequence[Source], pool: ThreadPoolExecutor, view: View | None = None) -> list[CachedShard]:
        """Find or compute the shards of one split, or of one view of it, in order."""
        size = self.config.shard
        return [self._shard(sources[start : start + size], pool, view) for start in range(0, len(sources), size)]

    def _shard(self, sources: Sequence[Source], pool: ThreadPoolExecutor, view: View | None) -> CachedShard:
        key = shard_key(self.config, self.backbone, [source.digest for source in sources], view)
        shard = self.cache.shard(
            key, self.backbone.spec.name, lambda: self._compute(sources, pool, view), self.on_event
        )
        if not shard.computed:
            self._advance(len(sources))
        return shard

    def _compute(
        self, sources: Sequence[Source], pool: ThreadPoolExecutor, view: View | None = None
    ) -> Float[Tensor, "n t d"]:
        shape = (len(sources), self.backbone.layout.t, self.backbone.d)
        found = torch.empty(shape, dtype=DTYPES[self.config.dtype])
        start = 0
        for real, pixels in batches(sources, self.backbone, batch=self.config.batch, pool=pool, view=view):
            tokens = self.backbone.features(self.backbone.normalise(pixels)).tokens[:real]
            _check_range(tokens, found.dtype, sources[start : start + real])
            found[start : start + real] = tokens
            start += real
            self._advance(real)
        return found

    def _advance(self, images: int) -> None:
        self.done += images
        self.on_event(ProgressEvent("extract", self.done, self.total, "images"))


@dataclass(frozen=True)
class _Split:
    """What the stores of a split and of its views have in common."""

    sources: Sequence[Source]
    header: StoreHeader
    images: str

    def assemble(
        self, out: Path, shards: Sequence[CachedShard], views: Mapping[View, Sequence[CachedShard]], **extra: Any
    ) -> None:
        """Link finished shards into a store, and those of its views into stores inside it."""
        index = index_table([source.image_id for source in self.sources], [source.label for source in self.sources])
        header = self.header.to_dict() | extra
        with writing(out, KIND, {"images": self.images}, n=len(self.sources), **header) as folder:
            for number, shard in enumerate(shards):
                link(shard.path, folder / shard_name(number))
            write_table(folder / INDEX, index)
            for view, found in views.items():
                self.assemble(folder / view_name(view.number), found, {}, view=view.to_dict())


def shard_key(config: ExtractConfig, backbone: Backbone, digests: Sequence[str], view: View | None = None) -> str:
    """Name the content of a shard by all that decides it; paths and labels do not.

    Args:
        config: dtype and batch count; the batch decides the rounding.
        backbone: Name, weights, preprocessing and device count.
        digests: Of the image files, in order.
        view: Number, seed and augmentation count where there is one; the key of plain images knows nothing of them.
    """
    of_view = {} if view is None else {"view": view.to_dict() | {"source": _source_digest(_VIEW_SOURCE)}}
    return digest_json(
        {
            "schema": SCHEMA,
            "backbone": backbone.spec.name,
            "weights": backbone.spec.weights.digest,
            "preprocessing": backbone.spec.preprocessing.to_dict(),
            "dtype": config.dtype,
            "batch": config.batch,
            "device": backbone.device.type,
            "threads": torch.get_num_threads(),
            "packages": {name: version(name) for name in _DECIDING_PACKAGES},
            "sources": _source_digests(),
            "images": list(digests),
            **of_view,
        }
    )


def _source_digests() -> dict[str, str]:
    """Name our own code that decides a token, so that a change of it finds nothing old in the cache."""
    return {name: _source_digest(name) for name in _DECIDING_SOURCES}


@remembered
def _source_digest(name: str) -> str:
    return digest_file(Path(__file__).parents[1] / name)


def _views(config: ExtractConfig, seed: int) -> list[View]:
    if config.augment is None:
        return []
    return [View(number, seed, config.augment) for number in range(1, config.views + 1)]


def _sources(table: ImageTable) -> list[Source]:
    frame = table.frame.sort_values("image_id")
    rows = zip(frame["image_id"], frame["digest"], frame["label"], strict=True)
    return [Source(image_id, table.path(image_id), digest, int(label)) for image_id, digest, label in rows]


def _check_range(tokens: Float[Tensor, "n t d"], dtype: torch.dtype, sources: Sequence[Source]) -> None:
    """Refuse what the stored dtype cannot hold, and name the image."""
    limit = torch.finfo(dtype).max
    low, high = torch.aminmax(tokens)
    if -low <= limit and high <= limit:  # false for NaN
        return
    largest = tokens.abs().flatten(1).amax(dim=1)
    image = int((~(largest <= limit)).nonzero()[0])
    value = float(largest[image])
    advice = "set extract.dtype to float32" if math.isfinite(value) else "choose another backbone"
    name = str(dtype).removeprefix("torch.")
    raise DataError(f"{sources[image].image_id}: the backbone gives {value:.3g}, which {name} cannot hold; {advice}")


def _sentence(result: ExtractResult) -> str:
    n = sum(result.n.values())
    seen = n + result.views * result.n["train"]
    rows, cols = result.grid
    rate = f", {seen / result.seconds:.1f} images/s" if result.computed and not result.linked else ""
    views = f" and {result.views} views of {result.n['train']:,}" if result.views else ""
    return (
        f"extract: {n:,} images{views}, {rows} x {cols} tokens of {result.d}; {result.computed} shards computed, "
        f"{result.linked} linked from the cache; {result.seconds:.1f} s{rate}"
    )
