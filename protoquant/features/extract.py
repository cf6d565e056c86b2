"""The extract step, which turns the table of images into one feature store for each split."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import median_low
from typing import Any

import torch

from protoquant.core.artifacts import artifact_digest, write_table, writing
from protoquant.core.events import MessageEvent, OnEvent, ProgressEvent
from protoquant.core.machine.disk import check_room
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable
from protoquant.features.augment import View
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.config import ExtractConfig
from protoquant.features.decode import Source, sources_of
from protoquant.features.store.cache import link
from protoquant.features.store.dtypes import token_bytes
from protoquant.features.store.gather import gather, publish_rest
from protoquant.features.store.layer_files import shard_name
from protoquant.features.store.shards import Layers, ShardJob, ShardWorker
from protoquant.features.store.shared_cache import OpenObjects
from protoquant.features.store.store import INDEX, KIND, view_name
from protoquant.features.store.writer import StoreHeader, index_table


@dataclass(frozen=True)
class ExtractResult:
    """Counts of an extraction.

    Attributes:
        out: The artifact.
        n: Number of images in each split.
        views: Number of augmented views of each train image.
        layers: Name, grid and dimension of each layer.
        computed: Number of shards that the backbone computed.
        linked: Number of shards that were in a cache.
        fetched: Number of those that came from the shared cache.
        seconds: Time for all shards, cached ones included.
    """

    out: Path
    n: Mapping[str, int]
    views: int
    layers: tuple[LayerShape, ...]
    computed: int
    linked: int
    fetched: int
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
    processes: int = 1,
    shared: OpenObjects | None = None,
) -> ExtractResult:
    """Run the frozen backbone once on every image and every view of a train image, and store the patch tokens.

    Finished shards are kept in the cache, so a run that was stopped continues from them. The tokens do not
    depend on the number of workers or processes, on what is in the cache, or on how often the run was stopped.

    Args:
        config: The ``extract`` section.
        images: The artifact of ``prepare``.
        root: ``prepare.root``.
        out: The artifact: a feature store for each split.
        cache: Folder of finished shards.
        device: Device that the backbone computes on.
        seed: Decides the augmented views; without views it has no effect.
        workers: Threads that decode images, at least 1, in each process.
        on_event: Receives progress.
        processes: Number of processes. More than 1 run on Ray; all must see the images under the same path, and
            either the same cache folder or the shared cache.
        shared: Opens the cache for machines without a common disk, such as a folder in S3; None for none. If it is
            unavailable, its shards are computed here.

    Returns:
        The counts.

    Raises:
        ConfigError: The backbone is unknown.
        UsageError: Its weights are not available.
        ArtifactError: They do not fit.
        DataError: An image changed since prepare, or a value does not fit the dtype.
        UnavailableError: Ray is unavailable, or the shared cache is while only another machine has a shard.
        ProtoQuantError: The disk has no room for the features.
    """
    table = ImageTable.open(images, root)
    tables = {name: table.split(name) for name in SPLITS}
    splits = {name: sources_of(part) for name, part in tables.items()}
    backbone = Backbone.load(config, device, on_event=on_event)
    sizes = [size for part in tables.values() for size in zip(part.frame["width"], part.frame["height"], strict=True)]
    if warning := enlarged(sizes, backbone.spec.preprocessing):
        on_event(MessageEvent(warning, "warning"))
    views = _views(config, seed)
    parts = [*((name, None) for name in SPLITS), *(("train", view) for view in views)]
    jobs = {(name, view): _jobs(splits[name], config.shard, view) for name, view in parts}
    progress = _Progress(sum(len(splits[name]) for name, _ in parts), on_event)
    worker = ShardWorker(config, backbone, cache, workers, shared=shared, on_event=on_event, on_images=progress.advance)
    flat = list(chain(*jobs.values()))
    _check_room(worker, flat)
    started = time.perf_counter()
    try:
        every = gather(worker, flat, processes, progress.advance, on_event)
    finally:
        worker.close()
    seconds = time.perf_counter() - started
    ended = iter(every)
    shards = {part: list(islice(ended, len(of_part))) for part, of_part in jobs.items()}
    header = StoreHeader(backbone.shapes, config.dtype, config.shard, backbone.spec)
    digests: dict[str, str] = {}
    with writing(out, "features", {"images": artifact_digest(images)}, known_digests=digests) as folder:
        for name, sources in splits.items():
            part = _Split(sources, header, artifact_digest(images / name))
            viewed = {view: shards["train", view] for view in views if name == "train"}
            of_split = part.assemble(folder / name, shards[name, None], viewed)
            digests |= {f"{name}/{file}": digest for file, digest in of_split.items()}
    publish_rest(worker, flat, every, on_event)
    files = list(chain(*every))
    result = ExtractResult(
        out=out,
        n={name: len(sources) for name, sources in splits.items()},
        views=len(views),
        layers=backbone.shapes,
        computed=sum(shard.computed for shard in files),
        linked=sum(not shard.computed for shard in files),
        fetched=sum(shard.fetched and not shard.computed for shard in files),
        seconds=seconds,
    )
    on_event(MessageEvent(_sentence(result) + _seen(config)))
    return result


class _Progress:
    """Counts the images of all splits and views."""

    def __init__(self, total: int, on_event: OnEvent) -> None:
        self._done, self._total, self._on_event = 0, total, on_event
        self.advance(0)

    def advance(self, images: int) -> None:
        """Report some more images as done."""
        self._done += images
        self._on_event(ProgressEvent("extract", self._done, self._total, "images"))


def enlarged(sizes: Sequence[tuple[int, int]], preprocessing: Preprocessing) -> str | None:
    """Say in one line that the backbone sees at least half of the images above their own pixels; None if it does not.

    Args:
        sizes: (width, height) of each upright image, in pixels.
        preprocessing: The backbone's preprocessing.
    """
    if 2 * sum(preprocessing.enlarges(width, height) for width, height in sizes) < len(sizes):
        return None
    side, of_image = ("longer", max) if preprocessing.mode == "border" else ("shorter", min)
    half = int(median_low(of_image(size) for size in sizes))
    return (
        f"extract: images are enlarged: in the median their {side} side has {half} pixels, the backbone's resize asks "
        f"for {preprocessing.at_least}; that adds no detail; take a smaller extract.input_size or extract.grid, or "
        "larger images"
    )


def _check_room(worker: ShardWorker, jobs: Sequence[ShardJob]) -> None:
    """Refuse at the start a run that would fill the disk hours later."""
    missing = sum(len(job.sources) for job in jobs if not worker.is_cached(job))
    size = missing * sum(shape.t * token_bytes(worker.config.dtype, shape.d) for shape in worker.backbone.shapes)
    help_ = "take another disk, extract.dtype int8 or fewer extract.views, or protoquant cache prune"
    check_room(worker.cache.root, size, f"the features of {missing:,} images", help_)


@dataclass(frozen=True)
class _Split:
    """The common part of the stores of a split and of its views."""

    sources: Sequence[Source]
    header: StoreHeader
    images: str

    def assemble(
        self, out: Path, shards: Sequence[Layers], views: Mapping[View, Sequence[Layers]], **extra: Any
    ) -> dict[str, str]:
        """Link finished shards into a store, and those of its views into stores inside it.

        Returns:
            The digests of the shards that are known, by their paths in the store.
        """
        digests: dict[str, str] = {}
        index = index_table([source.image_id for source in self.sources], [source.label for source in self.sources])
        header = self.header.to_dict() | extra
        with writing(
            out, KIND, {"images": self.images}, n=len(self.sources), known_digests=digests, **header
        ) as folder:
            for number, layers in enumerate(shards):
                for shape, shard in zip(self.header.shapes, layers, strict=True):
                    file = folder / shard_name(number, shape.name)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    if link(shard.path, file) and shard.digest:
                        digests[shard_name(number, shape.name)] = shard.digest
            write_table(folder / INDEX, index)
            for view, found in views.items():
                of_view = self.assemble(folder / view_name(view.number), found, {}, view=view.to_dict())
                digests |= {f"{view_name(view.number)}/{file}": digest for file, digest in of_view.items()}
        return digests


def _jobs(sources: Sequence[Source], size: int, view: View | None) -> list[ShardJob]:
    return [ShardJob(sources[start : start + size], view) for start in range(0, len(sources), size)]


def _views(config: ExtractConfig, seed: int) -> list[View]:
    if config.augment is None:
        return []
    return [View(number, seed, config.augment) for number in range(1, config.views + 1)]


def _sentence(result: ExtractResult) -> str:
    n = sum(result.n.values())
    seen = n + result.views * result.n["train"]
    tokens = " and ".join(f"{shape.grid[0]} x {shape.grid[1]} tokens of {shape.d}" for shape in result.layers)
    rate = f", {seen / result.seconds:.1f} images/s" if result.computed and not result.linked else ""
    views = f" and {result.views} views of {result.n['train']:,}" if result.views else ""
    fetched = f", {result.fetched} of them fetched from the shared one" if result.fetched else ""
    return (
        f"extract: {n:,} images{views}, {tokens}; {result.computed} shards computed, "
        f"{result.linked} linked from the cache{fetched}; {result.seconds:.1f} s{rate}"
    )


def _seen(config: ExtractConfig) -> str:
    """What the user must know where the backbone may have been trained on images of validation."""
    if config.trained_on in ("other", "train"):
        return ""
    return (
        f"; extract.weights_trained_on is {config.trained_on}, so validation may not be independent of the backbone "
        "and may promise more than test holds"
    )
