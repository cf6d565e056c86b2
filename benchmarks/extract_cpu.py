"""The CPU seconds of extract beside those of plain forward passes and Pillow's decode and resize, part by part.

CPU seconds are those of all threads of this process, with threads that wait asleep (``OMP_WAIT_POLICY=PASSIVE``), so
another job on the machine changes them little; each repeat measures every part once, one after the other.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from protoquant.core.artifacts import digest_bytes, digest_file, save_tensors
from protoquant.core.events import Event, ProgressEvent
from protoquant.core.files import sync
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.features.decode import Source, sources_of
from protoquant.features.extract import extract
from protoquant.features.store.dtypes import pack
from protoquant.features.tokens import maps_of

REFERENCE = ("forward", "decode", "resize")
PARTS = ("intermediates", "read and check", "to tensor", "normalise", "range and pack", "join and write", "digest")


@dataclass
class Clock:
    """CPU seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the CPU seconds of a block."""
        began = time.process_time()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - began


@dataclass(frozen=True)
class Cost:
    """Milliseconds of CPU for an image, the median of the repeats.

    Attributes:
        parts: Each part measured alone.
        step: The whole step.
        ratio: The step beside forward, decode and resize together.
    """

    parts: Mapping[str, float]
    step: float
    ratio: float


def cost(config: ExtractConfig, images: Path, root: Path, *, workers: int, repeats: int) -> Cost:
    """Measure the step and its parts.

    Args:
        config: The section extract.
        images: The artifact of prepare.
        root: ``prepare.root``.
        workers: Threads that decode.
        repeats: How often everything is measured.
    """
    backbone = Backbone.load(config, "cpu")
    found: list[dict[str, float]] = []
    n = len(ImageTable.open(images, root).frame)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="protoquant-benchmark-") as folder:
            clock = Clock()
            for split in SPLITS:  # the step fills up the last batch of each split
                sources = sources_of(ImageTable.open(images, root).split(split))
                _written(clock, _packed(clock, config, backbone, sources), Path(folder))
            clock.seconds["intermediates"] = clock.seconds.pop("features") - clock.seconds["forward"]
            clock.seconds["step"] = _step(config, images, root, Path(folder), workers)
            found.append(clock.seconds)
    ratios = [one["step"] / sum(one[part] for part in REFERENCE) for one in found]
    middle = {name: 1e3 * statistics.median(one[name] for one in found) / n for name in found[0]}
    return Cost({name: middle[name] for name in (*REFERENCE, *PARTS)}, middle["step"], statistics.median(ratios))


def _step(config: ExtractConfig, images: Path, root: Path, folder: Path, workers: int) -> float:
    """CPU seconds of the step from an empty cache, from its first report on: the backbone is loaded by then."""
    began: list[float] = []

    def start(event: Event) -> None:
        if isinstance(event, ProgressEvent) and not began:
            began.append(time.process_time())

    extract(
        config,
        images=images,
        root=root,
        out=folder / "features",
        cache=folder / "cache",
        device="cpu",
        seed=0,
        workers=workers,
        on_event=start,
    )
    return time.process_time() - began[0]


@torch.inference_mode()
def _packed(
    clock: Clock, config: ExtractConfig, backbone: Backbone, sources: Sequence[Source]
) -> dict[str, list[torch.Tensor]]:
    """Do the work of the step part by part, batch after batch, in this thread; the tokens of each layer."""
    plain: Callable[[torch.Tensor], torch.Tensor] = backbone.model.forward_features  # type: ignore[assignment]
    scale, batch = backbone.spec.preprocessing, config.batch
    packed: dict[str, list[torch.Tensor]] = {name: [] for name in backbone.spec.layers}
    for start in range(0, len(sources), batch):
        pixels = []
        for source in sources[start : start + batch]:
            with clock.timed("read and check"):
                data = source.path.read_bytes()
                digest_bytes(data)
            with clock.timed("decode"), Image.open(BytesIO(data)) as image:
                image.draft(None, (scale.at_least, scale.at_least))
                image.load()
                upright = image.convert("RGB")
            with clock.timed("resize"):
                seen = scale.apply(upright)
            with clock.timed("to tensor"):
                pixels.append(torch.from_numpy(np.array(seen)))
        with clock.timed("to tensor"):
            stacked = torch.stack(pixels + [torch.zeros_like(pixels[0])] * (batch - len(pixels)))
        with clock.timed("normalise"):
            x = backbone.normalise(stacked)
        with clock.timed("forward"):
            plain(x)
        with clock.timed("features"):
            tokens = backbone.features(x).tokens
        with clock.timed("range and pack"):
            for name, of_layer in zip(packed, maps_of(tokens), strict=True):
                torch.aminmax(of_layer)
                packed[name] += pack(of_layer[: len(pixels)], config.dtype).values()
    return packed


def _written(clock: Clock, packed: Mapping[str, list[torch.Tensor]], folder: Path) -> None:
    for name, parts in packed.items():
        file = folder / f"{name}.safetensors"
        with clock.timed("join and write"):
            save_tensors(file, {"tokens": torch.cat(parts)})
            sync(file)
        with clock.timed("digest"):
            digest_file(file)
