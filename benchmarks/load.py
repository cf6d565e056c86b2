"""Send ten thousand requests at once, many of them bad, and report the answers, the losses and the memory used.

Run from the project's folder, with a trained bundle and its images (about two minutes)::

    python -m benchmarks.load [BUNDLE [IMAGES]]

Every request has a connection of its own, all opened together. Good images are mixed with texts named .jpg, headers
that claim 200 megapixels, PNGs that would unpack to 64 MiB, bodies too large by their header or in fact, and bodies
whose last byte is late. The service runs with its own limits, except for a body timeout of two seconds. The benchmark
exits with code 1 if a request got no answer, if the log reports an unexpected error, or if a good image has another
answer than before.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
import urllib.request
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.http_clients import Request, Tally, in_process, posting
from benchmarks.served import Served, serving
from protoquant.serving.config import ServeConfig

BUNDLE, IMAGES = Path("artifacts/bundle"), Path("artifacts/images/test")
REQUESTS, BODY_TIMEOUT = 10_000, 2
LIMIT = ServeConfig().max_request_bytes
MIX = {"good": 70, "text as .jpg": 6, "200 MP header": 6, "text bomb": 3, "pixel bomb": 3, "too large": 6, "slow": 6}
"""Share of each kind of request, in percent."""
BIG = 5
"""Number of bodies that really are too large, sent one after another."""


def main() -> None:
    """Measure, print, and fail if something was lost."""
    given = [Path(text) for text in sys.argv[1:]]
    bundle = given[0] if given else BUNDLE
    files = sorted((given[1] if len(given) > 1 else IMAGES).rglob("*.png"))[:20]
    good = [file.read_bytes() for file in files]
    console = Console(width=120)
    with serving(bundle, "--body-timeout", str(BODY_TIMEOUT)) as service:
        before = _ask(service, good[0])
        quiet = _phase(console, service, "one after another", *_each_sort(good))
        storm = _phase(console, service, f"{REQUESTS:,} at once", *_storm(good))
        calm = _phase(console, service, "one after another, later", *_each_sort(good))
        after = _ask(service, good[0])
        lines = [json.loads(line) for line in service.log.read_text(encoding="utf-8").splitlines()]
        unexpected = [line for line in lines if "trace" in line]
        console.print(f"log: {len(lines):,} lines of JSON, {len(unexpected)} unexpected errors")
    same = before["answers"] == after["answers"]
    console.print(f"the same image has {'the same answer' if same else 'ANOTHER ANSWER'} before and after")
    if unexpected or not same or any(tally.lost for tally in (quiet, storm, calm)):
        sys.exit(1)


def _each_sort(good: list[bytes]) -> tuple[list[Request], list[list[int]]]:
    requests = [*_sorts(good), posting("too large in fact", bytes(LIMIT + 1))]
    return requests, [[*range(len(requests)), *[len(requests) - 1] * (BIG - 1)]]


def _storm(good: list[bytes]) -> tuple[list[Request], list[list[int]]]:
    requests = _sorts(good)
    places = {name: [at for at, one in enumerate(requests) if one.name == name] for name in MIX}
    row = [name for name, share in MIX.items() for _ in range(share)]
    # 37 and 100 have no common factor, so the kinds are mixed.
    names = [row[37 * number % 100] for number in range(REQUESTS)]
    return requests, [[places[name][number % len(places[name])]] for number, name in enumerate(names)]


def _sorts(good: list[bytes]) -> list[Request]:
    packed = zlib.compress(bytes(64 * 2**20), 9)
    text = _png(1, 1, _chunk(b"iTXt", b"c\x00\x01\x00\x00\x00" + packed), zlib.compress(b"\x00\x00"))
    return [
        *(posting("good", one) for one in good),
        posting("text as .jpg", b"a text, not a picture", "image/jpeg"),
        posting("200 MP header", _png(20_000, 10_000, b"", zlib.compress(b""))),
        posting("text bomb", text),
        posting("pixel bomb", _png(8, 8, b"", packed)),
        posting("too large", b"x", announced=LIMIT + 1),
        posting("slow", good[0], pause=BODY_TIMEOUT + 2.0),
    ]


def _png(width: int, height: int, extra: bytes, data: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _phase(console: Console, service: Served, title: str, requests: list[Request], plans: list[list[int]]) -> Tally:
    over, peak = threading.Event(), [service.memory()]
    start = peak[0]

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], service.memory())

    watching = threading.Thread(target=watch)
    watching.start()
    tally = in_process(service.port, requests, plans)
    over.set()
    watching.join()
    table = Table(title=title)
    for place, name in enumerate(("sort", "sent", "answers by status and kind", "lost")):
        table.add_column(name, justify="left" if place in (0, 2) else "right")
    sent = Counter(requests[place].name for plan in plans for place in plan)
    for name, count in sent.items():
        got = Counter((status, kind) for sort, status, kind, _ in tally.answers if sort == name)
        lost = Counter(reason for sort, reason in tally.lost if sort == name)
        assert got.total() + lost.total() == count
        said = ", ".join(f"{number:,} x {status} {kind}".rstrip() for (status, kind), number in sorted(got.items()))
        table.add_row(name, f"{count:,}", said, ", ".join(f"{number} x {why}" for why, number in lost.items()) or "0")
    console.print(table)
    began = time.perf_counter()
    health = _health(service)
    took = 1e3 * (time.perf_counter() - began)
    now = service.memory()
    console.print(
        f"{tally.seconds:.1f} s, {len(tally.answers):,} answers, {len(tally.lost)} lost; memory {start >> 20} MiB "
        f"before, {peak[0] >> 20} at most, {now >> 20} after; health afterwards: {health} in {took:.0f} ms"
    )
    return tally


def _health(service: Served) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health", timeout=30) as reply:
        return str(json.load(reply)["status"])


def _ask(service: Served, data: bytes) -> Any:
    address = f"http://127.0.0.1:{service.port}/predict"
    request = urllib.request.Request(address, data, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 (loopback)
        return json.load(reply)


if __name__ == "__main__":
    main()
