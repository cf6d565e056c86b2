"""A client that drives an ASGI application message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

App = Callable[..., Awaitable[None]]


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
