"""Measure the cost of number formats, the growth of time and memory with images, and the gain of several processes.

Run from the project's folder (about ten minutes on two idle cores; it writes to a temporary folder only)::

    python -m benchmarks.scale

Formats are compared on the images of params.yaml, by validation. Growth is measured on generated tokens of 20 classes;
memory is the largest anonymous memory of the process, so that mapped files do not count. Processes on one machine of
two cores share the cores that one process has already, so no gain is promised there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.core.machine.cores import cores
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.backbone.spec import BackboneSpec, WeightsSpec
from protoquant.features.store.dtypes import DTYPES, token_bytes
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.features.store.writer import write_store
from protoquant.head.candidates import fit_candidates
from protoquant.head.config import BudgetConfig, TrainConfig
from protoquant.model.scored_split import score_split
from protoquant.settings.params_file import override

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
GROWTH, BASE = (1, 4, 16), 2_000
GRID, D, CLASSES = (7, 7), 384, 20
PREPROCESSING = Preprocessing((224, 224), (224, 224), "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPEC = BackboneSpec("made", WeightsSpec("file", "0" * 64, "made"), PREPROCESSING)
QUANTIZE = QuantizeConfig(epochs=5, tolerance=0.0)
TRAIN = TrainConfig(temperature=0.05, budget=BudgetConfig(sizes=(5, 10)), choice=None, joint=None)


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="protoquant-benchmark-") as folder:
        root = Path(folder)
        console.print(_growth(root / "growth"))
        shutil.copytree(ROOT / "data", root / "data")
        shutil.copy(ROOT / "params.yaml", root)
        _run(root, "prepare")
        console.print(_formats(root))
        console.print(_processes(root))


def _formats(root: Path) -> Table:
    table = _table("number formats of the store", "dtype", "bytes/token", "error", "probe", "head", "read", "read some")
    base: tuple[float, float] | None = None
    for dtype in ("float32", *(name for name in DTYPES if name != "float32")):
        override(root / "params.yaml", {"extract.dtype": dtype}, source="the benchmark")
        for stage in ("extract", "quantize", "train"):
            _run(root, stage)
        numbers = json.loads((root / "artifacts/codebook/metrics.json").read_text())
        head = json.loads((root / "artifacts/bundle/metrics.json").read_text())["validation"]["top1"]
        store = FeatureStore.open(root / "artifacts/features/train")
        spent = _reading(store)
        base = base or spent
        table.add_row(
            dtype,
            f"{token_bytes(dtype, store.d):,}",
            f"{numbers['train']['quantization_error']:.4f}",
            f"{numbers['probe']['validation_top1']:.4f}",
            f"{head:.4f}",
            *(f"{own / of:.2f}" for own, of in zip(spent, base, strict=True)),
        )
    return table


def _reading(store: FeatureStore) -> tuple[float, float]:
    """Return the least seconds of five passes over the store as float32: in order, and 64 random images at a time."""
    order = torch.randperm(store.n, generator=torch.Generator().manual_seed(0)).split(64)

    def in_order() -> None:
        for tokens in stream_tokens(store, 64, torch.device("cpu")):
            tokens.float().sum()

    def some() -> None:
        for images in order:
            store.tokens(images).float().sum()

    return _least(in_order), _least(some)


def _least(work: Any) -> float:
    found = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def _growth(root: Path) -> Table:
    table = _table("growth", "images", "store, MB", "quantize, ms/image", "head, ms/image", "memory, MiB")
    for factor in GROWTH:
        folder = root / str(factor)
        _make(folder, BASE * factor)
        receiving, sending = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_learn, args=(folder, sending))
        process.start()
        one, two, memory = receiving.recv()
        process.join()
        n = BASE * factor
        size = n * GRID[0] * GRID[1] * D * 2 / 1e6
        table.add_row(f"{n:,}", f"{size:,.0f}", f"{1e3 * one / n:.2f}", f"{1e3 * two / n:.2f}", f"{memory / 2**20:.0f}")
        shutil.rmtree(folder)
    return table


def _make(folder: Path, n: int) -> None:
    """Write a store of tokens around four directions of each class and ten shared ones."""
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(4 * CLASSES + 10, D, generator=draw)
    for split, images in (("train", n), ("validation", 400)):
        labels = torch.arange(images) % CLASSES
        own = 4 * labels[:, None] + torch.randint(4, (images, 49), generator=draw)
        background = torch.rand(images, 49, generator=draw) < 0.5
        kinds = own.where(~background, 4 * CLASSES + torch.randint(10, (images, 49), generator=draw))
        parts = [(directions[some] + torch.randn(*some.shape, D, generator=draw)).half() for some in kinds.split(1_000)]
        ids = [f"{split}/{number:06d}.jpg" for number in range(images)]
        write_store(folder / split, torch.cat(parts), labels, ids, GRID, SPEC)


def _learn(folder: Path, answer: Any) -> None:
    """Quantize and fit heads in a separate process; send the seconds and the peak of anonymous memory."""
    torch.set_num_threads(2)
    largest, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
            largest[0] = max(largest[0], next(int(line.split()[1]) for line in lines if line.startswith("Anonymous")))

    thread = threading.Thread(target=watch)
    thread.start()
    started = time.perf_counter()
    quantize(QUANTIZE, features=folder, out=folder / "codebook", device=CPU, seed=0, on_event=ignore)
    one = time.perf_counter() - started
    started = time.perf_counter()
    with torch.inference_mode():
        codebook, probe = Codebook.open(folder / "codebook"), LinearProbe.open(folder / "codebook")
        train, validation = (
            score_split(
                FeatureStore.open(folder / name),
                codebook,
                probe,
                TRAIN.temperatures,
                batch=TRAIN.batch,
                nearest=3,
                device=CPU,
                label=name,
                folder=None,
                on_event=ignore,
            )
            for name in ("train", "validation")
        )
        fit_candidates(TRAIN, train, validation, CLASSES, class_weights=None, seed=0, on_event=ignore)
    two = time.perf_counter() - started
    over.set()
    thread.join()
    answer.send((one, two, 1_024 * largest[0]))


def _processes(root: Path) -> Table:
    """Time whole commands, including the start of Ray; each extraction starts with an empty cache."""
    table = _table("processes on one machine", "stage", "1 process, s", "2 processes, s", "ratio")
    override(root / "params.yaml", {"extract.dtype": "float16", "extract.shard": 64}, source="the benchmark")
    for stage in ("extract", "quantize", "train"):
        spent = []
        for processes in (1, 2):
            shutil.rmtree(root / ".protoquant", ignore_errors=True)
            spent.append(_run(root, stage, processes))
        table.add_row(stage, *(f"{seconds:.1f}" for seconds in spent), f"{spent[1] / spent[0]:.2f}")
    return table


def _run(root: Path, stage: str, processes: int = 1) -> float:
    started = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own = {"PYTHONPATH": str(ROOT), "PROTOQUANT_PROCESSES": str(processes)}
    command = [str(Path(sys.executable).with_name("protoquant")), stage]
    subprocess.run(command, cwd=root, env=environment | own, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"{title} ({cores()} cores)")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left")
    return table


if __name__ == "__main__":
    main()
