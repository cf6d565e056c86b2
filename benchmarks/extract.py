"""Compare extract with the plain forward pass and with Pillow, in seconds and in CPU seconds, and measure its memory.

Run from the project's folder (some minutes on two idle cores; it writes to a temporary folder only)::

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.extract
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.extract --images 128 --photos 16 --repeats 3 --only cpu    # shorter

Each repeat runs the plain pass and the step one after the other, so that a busy machine slows both; the table shows
the median of the ratios. The plain pass is the same backbone on as many preloaded, normalised tensors. The step reads,
checks, decodes, transforms, runs the backbone, writes, syncs and links shards, from an empty cache. A second table has
the CPU seconds of the step and of each part alone, for one layer and for two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks.extract_cpu import cost
from protoquant.core.events import ignore
from protoquant.core.runtime import Runtime
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract

THREADS = 2
WORKERS = 2
TARGET = 0.80
CPU_TARGET = 1.05
LAYERS = (("last",), ("blocks.4", "last"))
MEMORY = (1_024, 10_240)


@dataclass(frozen=True)
class Pair:
    """Seconds of the plain pass and of the step on the same number of images."""

    plain: float
    step: float


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    Runtime(device="cpu").torch_device(THREADS)
    if arguments.child:
        _child(Path(arguments.child))
        return
    with tempfile.TemporaryDirectory(prefix="protoquant-benchmark-") as folder:
        data = {
            "partbirds, 256 x 256 PNG": _partbirds(Path(folder) / "birds", arguments.images),
            "photos, 4000 x 3000 JPEG": _photos(Path(folder) / "photos", arguments.photos),
        }
        if arguments.only != "cpu":
            _print_rates(data, arguments, Path(folder))
        if arguments.only != "rates":
            _print_cpu(data, arguments)


def _print_rates(data: dict[str, Path], arguments: argparse.Namespace, folder: Path) -> None:
    table = Table(title=f"extract, {THREADS} threads, {WORKERS} decoding workers")
    for name in ("what", "images", "plain", "extract", "ratio", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for (what, of_data), wanted in zip(data.items(), (TARGET, None), strict=True):
        _rates(table, what, of_data, arguments, wanted)
    if arguments.memory:
        _memory(table, folder)
    Console().print(table)


def _print_cpu(data: dict[str, Path], arguments: argparse.Namespace) -> None:
    """Print milliseconds of CPU for an image: a column for each data set and layers."""
    table = Table(title=f"CPU ms an image, {THREADS} threads, {WORKERS} decoding workers, {arguments.repeats} repeats")
    table.add_column("part")
    costs = []
    for (what, folder), layers in product(data.items(), LAYERS):
        table.add_column(f"{what}, n {_count(folder)}: {' and '.join(layers)}", justify="right")
        config, repeats = ExtractConfig(layers=layers), arguments.repeats
        costs.append(cost(config, folder / "images", _root(folder), workers=WORKERS, repeats=repeats))
    for part in costs[0].parts:
        table.add_row(part, *(f"{one.parts[part]:.2f}" for one in costs))
    table.add_row("the parts together", *(f"{sum(one.parts.values()):.2f}" for one in costs))
    table.add_row("extract", *(f"{one.step:.2f}" for one in costs))
    table.add_row("extract / (forward + decode + resize)", *(f"{one.ratio:.3f}" for one in costs))
    table.add_row("wanted", *(f"<= {CPU_TARGET:.2f}" for _ in costs))
    Console().print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="partbirds images, a multiple of 64")
    parser.add_argument("--photos", type=int, default=64, help="photos, at least 8")
    parser.add_argument("--only", choices=("rates", "cpu"), help="one of the two tables")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of plain pass and step")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="also measure memory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _rates(table: Table, what: str, folder: Path, arguments: argparse.Namespace, wanted: float | None) -> None:
    pairs = [_pair(folder, repeat) for repeat in range(arguments.repeats)]
    n = _count(folder)
    ratio = statistics.median(pair.plain / pair.step for pair in pairs)
    plain, step = (n / statistics.median(getattr(pair, name) for pair in pairs) for name in ("plain", "step"))
    goal = f">= {wanted:.2f}" if wanted else ""
    table.add_row(what, f"{n:,}", f"{plain:.1f} images/s", f"{step:.1f} images/s", f"{ratio:.2f}", goal)


def _pair(folder: Path, repeat: int) -> Pair:
    config = ExtractConfig()
    backbone = Backbone.load(config, "cpu")
    n = _count(folder)
    batches = -(-n // config.batch)
    x = torch.randn((config.batch, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    preloaded = [(x + 0.01 * k).to(memory_format=torch.channels_last) for k in range(min(batches, 8))]
    backbone.features(preloaded[0])
    started = time.perf_counter()
    for number in range(batches):
        backbone.features(preloaded[number % len(preloaded)])
    plain = time.perf_counter() - started
    return Pair(plain, _extract(config, folder, f"{repeat}"))


def _extract(config: ExtractConfig, folder: Path, name: str) -> float:
    """Return the seconds of the step's shards, without loading the backbone."""
    result = extract(
        config,
        images=folder / "images",
        root=_root(folder),
        out=folder / f"features-{name}",
        cache=folder / f"cache-{name}",
        device="cpu",
        seed=0,
        workers=WORKERS,
        on_event=ignore,
    )
    return result.seconds


def _root(folder: Path) -> Path:
    return folder / "spec.yaml" if (folder / "spec.yaml").exists() else folder / "photos"


def _partbirds(folder: Path, images: int) -> Path:
    folder.mkdir(parents=True)
    spec = folder / "spec.yaml"
    per_class = images // 8
    parts = f"train: {per_class - 4}\nvalidation: 2\ntest: 2\n"
    spec.write_text(f"classes: 8\n{parts}size: 256\nseed: 0\n")
    prepare(PrepareConfig(), root=spec, out=folder / "images", parts=folder / "parts", seed=0, on_event=ignore)
    return folder


def _photos(folder: Path, images: int) -> Path:
    """Make photos with detail at every scale, as a camera writes them."""
    for number in range(images):
        generator = np.random.default_rng(number)
        canvas = np.zeros((3000, 4000, 3), dtype=np.float32)
        for cells in (6, 40, 250):
            coarse = generator.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
            canvas += np.asarray(Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC)) / 3
        _save(canvas.astype(np.uint8), folder / "photos" / f"class{number % 2}" / f"{number}.jpg")
    return _prepared(folder)


def _small(folder: Path, images: int) -> Path:
    generator = np.random.default_rng(0)
    for number in range(images):
        pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        _save(pixels, folder / "photos" / f"class{number % 4}" / f"{number}.png")
    return _prepared(folder)


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=92)


def _prepared(folder: Path) -> Path:
    config = PrepareConfig(reader="image_folder")
    prepare(config, root=folder / "photos", out=folder / "images", parts=folder / "parts", seed=0, on_event=ignore)
    return folder


def _count(folder: Path) -> int:
    return sum(json.loads((folder / "images" / "summary.json").read_text())["images"].values())


def _memory(table: Table, folder: Path) -> None:
    torch.manual_seed(0)
    weights = folder / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    peaks = []
    for images in MEMORY:
        _small(folder / str(images), images)
        call = [sys.executable, "-m", "benchmarks.extract", "--child", str(folder / str(images))]
        answer = subprocess.run(call, capture_output=True, text=True, check=True)
        peaks.append(int(answer.stdout))
    small, large = (f"{peak / 1024:.0f} MiB" for peak in peaks)
    images = " / ".join(f"{count:,}" for count in MEMORY)
    ratio = f"{peaks[1] / peaks[0]:.2f}"
    table.add_row("peak memory, test_resnet, 40 x 40 PNG", images, small, large, ratio, "<= 1.10")


def _child(folder: Path) -> None:
    """Extract in a fresh process and print its peak memory in KiB."""
    config = ExtractConfig(
        backbone="test_resnet",
        weights="file",
        weights_file=str(folder.parent / "weights.safetensors"),
        input_size=(64, 64),
    )
    _extract(config, folder, "memory")
    status = Path("/proc/self/status").read_text()
    sys.stdout.write(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
