"""Runs clients for benchmarks: prepared requests over kept connections, in a separate process.

The clients do as little work as possible, since they share the cores with the service: prepared bytes are written
unchanged, and only the status, the length and the kind of error of an answer are read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass
class Tally:
    """The results of clients.

    Attributes:
        answers: (name of the request, status, kind of error or "", seconds) for each answer.
        lost: Name and reason of each request that got no answer.
        seconds: From the first request to the last answer.
        cpu: Processor seconds of the clients.
    """

    answers: list[tuple[str, int, str, float]] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def latency(self, share: float, status: int = 200) -> float:
        """Return a quantile of the seconds of answers with a status."""
        found = sorted(seconds for _, got, _, seconds in self.answers if got == status)
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


@dataclass(frozen=True)
class Request:
    """A prepared request.

    Attributes:
        name: Name of its kind.
        head: Start line and headers.
        body: The body, sent after the head.
        pause: Seconds before the last byte of the body.
    """

    name: str
    head: str
    body: bytes
    pause: float = 0.0


def posting(
    name: str, body: bytes, kind: str = "image/png", *, announced: int | None = None, pause: float = 0.0
) -> Request:
    """Return a POST to /predict; the announced length may differ from the true one."""
    length = len(body) if announced is None else announced
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    return Request(name, head, body, pause)


def in_process(
    port: int, requests: Sequence[Request], plans: Sequence[Sequence[int]], seconds: float | None = None
) -> Tally:
    """Run clients, each with a connection of its own and its requests in turn.

    Args:
        port: Port of the service on loopback.
        requests: Requests that clients may send.
        plans: For each client, the indices of its requests in ``requests``.
        seconds: How long to repeat the requests; if None, they are sent once.
    """
    plain = [[one.name, one.head, base64.b64encode(one.body).decode(), one.pause] for one in requests]
    text = json.dumps({"port": port, "requests": plain, "plans": [list(plan) for plan in plans], "seconds": seconds})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_clients"], input=text, capture_output=True, text=True, check=True
    )
    return Tally(**json.loads(done.stdout))


def main() -> None:
    """Run as that process: read the requests from standard input, and write the results to standard output."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    given = json.load(sys.stdin)
    requests = [Request(name, head, base64.b64decode(body), pause) for name, head, body, pause in given["requests"]]
    plans = [[requests[place] for place in plan] for plan in given["plans"]]
    before = time.process_time()
    tally = asyncio.run(_all(given["port"], plans, given["seconds"]))
    tally.cpu = time.process_time() - before
    json.dump(asdict(tally), sys.stdout)


async def _all(port: int, plans: Sequence[Sequence[Request]], seconds: float | None) -> Tally:
    tally, started = Tally(), time.perf_counter()
    end = None if seconds is None else started + seconds
    await asyncio.gather(*(_client(port, plan, end, tally) for plan in plans))
    tally.seconds = time.perf_counter() - started
    return tally


async def _client(port: int, plan: Sequence[Request], end: float | None, tally: Tally) -> None:
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while True:
        for request in plan:
            if end is not None and time.perf_counter() >= end:
                return
            begun = time.perf_counter()
            try:
                if line is None:
                    line = await asyncio.open_connection("127.0.0.1", port)
                status, kind, closing = await _ask(*line, request)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                tally.lost.append((request.name, f"{type(error).__name__}: {error}"))
                line = None
                continue
            tally.answers.append((request.name, status, kind, time.perf_counter() - begun))
            if closing:
                line[1].close()
                line = None
        if end is None:
            if line is not None:
                line[1].close()
            return


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> tuple[int, str, bool]:
    """Send one request and read its one answer."""
    if request.pause:
        writer.write(request.head.encode() + request.body[:-1])
        answer = asyncio.ensure_future(_answer(reader))
        done, _ = await asyncio.wait((answer,), timeout=request.pause)
        if not done:
            writer.write(request.body[-1:])
        return await answer
    writer.write(request.head.encode() + request.body)
    status, kind, closing = await _answer(reader)
    # Announced bytes that were never sent cannot follow now, so the connection must close.
    return status, kind, closing or f"Content-Length: {len(request.body)}\r\n" not in request.head


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    kind = body.partition(b'"kind": "')[2].partition(b'"')[0].decode()
    return int(head[9:12]), kind, b"connection: close" in head


if __name__ == "__main__":
    main()
