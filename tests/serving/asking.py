"""Pictures, good and bad, and a client that drives an ASGI application message by message."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

App = Callable[..., Awaitable[None]]


def photo(seed: int, width: int = 96, height: int = 80, kind: str = "PNG") -> bytes:
    """The file of a smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(held, format=kind)
    return held.getvalue()


def png(width: int, height: int, *, extra: bytes = b"", pixels: bytes = b"") -> bytes:
    """A PNG by hand: grey, 8 bit; without pixels only its header says how large it would be."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG whose comment would unpack to 64 MiB."""
    packed = zlib.compress(bytes(64 * 2**20), 9)
    return png(1, 1, extra=_chunk(b"iTXt", b"c\x00\x01\x00\x00\x00" + packed), pixels=b"\x00\x00")


def pixel_bomb() -> bytes:
    """A PNG of 8 x 8 pixels whose data would unpack to 64 MiB."""
    return png(8, 8, pixels=bytes(64 * 2**20))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: int = 0

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def call(
    app: App,
    path: str = "/predict",
    *,
    parts: Iterable[bytes] = (b"",),
    headers: dict[str, str] | None = None,
    whole: bool = True,
    leave: asyncio.Event | None = None,
) -> Reply:
    """Send one POST whose body arrives in parts.

    Args:
        app: An ASGI application.
        path: Of the request.
        parts: Of the body.
        headers: In place of a Content-Length.
        whole: Whether the last part ends the body; else the next one never comes.
        leave: The client goes away when it is set.
    """
    reply, waiting = Reply(), list(parts)
    given = {"content-length": str(sum(map(len, waiting)))} if headers is None else headers
    never = leave or asyncio.Event()

    async def receive() -> dict[str, Any]:
        if waiting:
            reply.read += 1
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting) or not whole}
        await never.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message.get("body", b"")

    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("test", 80),
        "client": ("test", 1),
        "headers": raw,
    }
    await app(scope, receive, send)
    return reply
