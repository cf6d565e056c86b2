"""Measure what the service costs: the head beside its backbone, HTTP beside a bare loop, the start of a command.

Run from the project's folder, with a trained bundle and its images (about three minutes on two idle cores)::

    python -m benchmarks.serving [BUNDLE [IMAGES]]

Both sides of a ratio are measured in turn, several times, and the median is taken. The bare loop decodes, transforms
and answers the same files with as many threads as the service has. The clients share the cores with the service, so the
share of the processor that they take is shown too: the service lacks it, the loop does not. Processor time per image is
shown for both, since it does not depend on what else the machine does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.http_clients import Request, in_process, posting
from benchmarks.served import Served, serving
from protoquant.core.machine.cores import cores
from protoquant.core.runtime import Runtime
from protoquant.data.images import decode_sized
from protoquant.model.classifier import Model
from protoquant.serving.config import ServeConfig

BUNDLE, IMAGES = Path("artifacts/bundle"), Path("artifacts/images/test")
FILES, ROUNDS, SECONDS = 64, 3, 5.0
CLIENTS = (1, 8, 64)


def main() -> None:
    """Measure and print."""
    given = [Path(text) for text in sys.argv[1:]]
    bundle = given[0] if given else BUNDLE
    images = given[1] if len(given) > 1 else IMAGES
    files = sorted(path for path in images.rglob("*") if path.is_file())[:: max(1, _count(images) // FILES)][:FILES]
    data = [file.read_bytes() for file in files]
    console = Console(width=120)
    model = Model.load(bundle, Runtime.from_environment().torch_device(ServeConfig().threads))
    console.print(_head(model, data))
    console.print(_throughput(bundle, model, data))
    console.print(_start(bundle, files[0]))


def _count(images: Path) -> int:
    return sum(1 for path in images.rglob("*") if path.is_file())


def _head(model: Model, data: list[bytes]) -> Table:
    table = _table("the head beside its backbone", "images", "backbone, CPU ms", "whole answer, CPU ms", "head costs")
    opened = [_open(model, one) for one in data[:32]]
    for size in (1, 32):
        pixels = torch.stack([one for one, _ in opened[:size]])
        sizes = [whole for _, whole in opened[:size]]

        def backbone(pixels: torch.Tensor = pixels) -> None:
            with torch.inference_mode():
                model.backbone.features(model.backbone.normalise(pixels))

        def whole(pixels: torch.Tensor = pixels, sizes: list[tuple[int, int]] = sizes) -> None:
            model.answer_pixels(pixels, sizes)

        alone, both = _in_turn(backbone, whole, rounds=64 // size + 5, clock=time.process_time)
        share = 100 * (both / alone - 1)
        table.add_row(f"{size}", f"{1e3 * alone:.2f}", f"{1e3 * both:.2f}", f"{share:+.1f} %")
    return table


def _throughput(bundle: Path, model: Model, data: list[bytes]) -> Table:
    columns = ("service/s", "loop/s", "ratio", "CPU of an image, ms", "the same in the loop, ms", "p50, ms", "p99, ms")
    table = _table("the service beside a bare loop", "clients", *columns, "CPU of clients")
    requests = [posting("good", one) for one in data]
    with serving(bundle) as service:
        in_process(service.port, requests, [range(len(data))] * 8, 2.0)
        for clients in CLIENTS:
            plans = [[(first + place) % len(data) for place in range(len(data))] for first in range(clients)]
            rounds = [_round(service, model, data, requests, plans) for _ in range(ROUNDS)]
            seconds = sorted(one for found in rounds for one in found.seconds)
            p50, p99 = (1e3 * seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.99))
            own, bare, ratio, cpu, cpu_bare, share = (
                median(getattr(found, name) for found in rounds)
                for name in ("rate", "loop", "ratio", "cpu", "cpu_loop", "clients")
            )
            numbers = (f"{own:.1f}", f"{bare:.1f}", f"{ratio:.2f}", f"{cpu:.1f}", f"{cpu_bare:.1f}")
            table.add_row(f"{clients}", *numbers, f"{p50:.0f}", f"{p99:.0f}", f"{100 * share:.0f} %")
    return table


@dataclass(frozen=True)
class _Round:
    """One measurement: images a second, CPU milliseconds of an image, the clients' share of all cores."""

    rate: float
    loop: float
    cpu: float
    cpu_loop: float
    clients: float
    seconds: list[float]

    @property
    def ratio(self) -> float:
        return self.rate / self.loop


def _round(service: Served, model: Model, data: list[bytes], requests: list[Request], plans: list[list[int]]) -> _Round:
    before = time.process_time()
    done, spent = _loop(model, data, SECONDS / 2, batch=min(len(plans), ServeConfig().batch))
    cpu_loop = 1e3 * (time.process_time() - before) / done
    before = service.cpu()
    tally = in_process(service.port, requests, plans, SECONDS)
    good = [seconds for _, status, _, seconds in tally.answers if status == 200]
    assert len(good) == len(tally.answers), "an answer was refused"
    assert not tally.lost
    cpu = 1e3 * (service.cpu() - before) / len(good)
    share = tally.cpu / tally.seconds / cores()
    return _Round(len(good) / tally.seconds, done / spent, cpu, cpu_loop, share, good)


def _loop(model: Model, data: list[bytes], seconds: float, *, batch: int) -> tuple[int, float]:
    """Run as many plain loops as the service has threads, one for a single client; return images and seconds."""
    end = time.perf_counter() + seconds

    def loop(first: int) -> int:
        done = 0
        while time.perf_counter() < end:
            opened = [_open(model, data[(first + done + place) % len(data)]) for place in range(batch)]
            model.answer_pixels(torch.stack([one for one, _ in opened]), [size for _, size in opened])
            done += batch
        return done

    workers = 1 if batch == 1 else cores()
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(loop, range(0, workers * 7, 7)))
    return done, time.perf_counter() - started


def _open(model: Model, data: bytes) -> tuple[torch.Tensor, tuple[int, int]]:
    image, size = decode_sized(data, at_least=model.backbone.spec.preprocessing.at_least)
    return model.backbone.transform(image), size


def _start(bundle: Path, file: Path) -> Table:
    table = _table("start of a command", "command", "seconds", "of them import torch")
    program = str(Path(sys.executable).with_name("protoquant"))
    torch_alone, predict = _in_turn(
        lambda: _run([sys.executable, "-c", "import torch"]),
        lambda: _run([program, "predict", "--json", "-m", str(bundle), str(file)]),
        rounds=3,
    )
    table.add_row("protoquant predict IMAGE", f"{predict:.1f}", f"{torch_alone:.1f}")
    return table


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _in_turn(
    one: Callable[[], None], other: Callable[[], None], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Return the median seconds of two pieces of work, done in turn."""
    spent: tuple[list[float], list[float]] = ([], [])
    one()
    other()
    for _ in range(rounds):
        for work, seconds in zip((one, other), spent, strict=True):
            started = clock()
            work()
            seconds.append(clock() - started)
    return median(spent[0]), median(spent[1])


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"{title} ({cores()} cores)")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left")
    return table


if __name__ == "__main__":
    main()
