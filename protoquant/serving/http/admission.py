"""Admit requests within limits of number, bytes and seconds, and refuse the rest early."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protoquant.serving.config import ServeConfig
from protoquant.serving.http.record import account
from protoquant.serving.http.refusal import RefusedError, busy, too_many_bytes
from protoquant.serving.http.refused_body import let_go

ALWAYS = ("/health", "/metrics")
"""Paths that are answered however busy the service is; their bodies are not read."""


class Admission:
    """ASGI middleware that reads the whole body within its limits before it calls the wrapped application.

    Beyond ``queue`` requests or ``max_held_bytes`` of bodies the answer is 429, without waiting for the body. A body
    of more than ``max_request_bytes`` gives 413, from its Content-Length or as soon as it has grown too large. A body
    that has not arrived after ``body_timeout`` gives 408, and an answer that is not ready after ``timeout`` gives 504.
    When a client disconnects, its work is cancelled.

    Args:
        app: The wrapped application.
        config: The limits.
    """

    def __init__(self, app: ASGIApp, config: ServeConfig):
        self._app = app
        self._config = config
        self._at_work = 0
        self._held = 0

    def at_work(self) -> int:
        """Number of admitted requests that are in progress."""
        return self._at_work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit one request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        announced = _announced(dict(scope["headers"]))
        try:
            size = self._admit(announced)
        except RefusedError:
            await let_go(scope, receive, self._config.max_request_bytes)
            raise
        self._at_work += 1
        self._held += size
        try:
            body = await self._body(receive)
            await self._run(scope, receive, send, body)
        finally:
            self._at_work -= 1
            self._held -= size

    def _admit(self, announced: int | None) -> int:
        """The bytes to reserve for a request; a body of unknown length counts as the longest that is allowed."""
        limits = self._config
        if self._at_work >= limits.queue:
            raise busy(f"{self._at_work} requests at work")
        if announced is not None and announced > limits.max_request_bytes:
            raise too_many_bytes(limits.max_request_bytes)
        size = limits.max_request_bytes if announced is None else announced
        if self._held and self._held + size > limits.max_held_bytes:
            raise busy(f"requests of {self._held:,} bytes at work")
        return size

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        got, more = 0, True
        try:
            async with asyncio.timeout(self._config.body_timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "gone", "the client closed the connection before its request was whole")
                    parts.append(message.get("body", b""))
                    got, more = got + len(parts[-1]), message.get("more_body", False)
                    if got > self._config.max_request_bytes:
                        raise too_many_bytes(self._config.max_request_bytes)
        except TimeoutError:
            text = f"the request was not whole after {self._config.body_timeout:g} seconds; send it faster or in parts"
            raise RefusedError(408, "slow", text, {"Connection": "close"}) from None
        return b"".join(parts)

    async def _run(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Answer, unless the client disconnects or the time runs out."""
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        del body
        work = asyncio.ensure_future(self._app(scope, replay, send))
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((work, gone), timeout=self._config.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or account(scope).over:
                await work
            elif gone.done():
                raise RefusedError(499, "gone", "the client closed the connection before it was answered")
            else:
                text = f"no answer within {self._config.timeout:g} seconds; try again, or send less at a time"
                raise RefusedError(504, "timeout", text)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))


def _announced(headers: dict[bytes, bytes]) -> int | None:
    """Bytes of the body by its header: 0 without one, None where the length is unknown, as with chunks."""
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None
