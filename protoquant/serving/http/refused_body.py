"""Drain the body of a refused request, so that the client still receives the answer."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope

_DRAIN_SECONDS = 2.0


async def let_go(scope: Scope, receive: Receive, most: int) -> None:
    """Discard the body of a refused request.

    The part that arrived with the headers is read, since it would stay in the server's buffer as long as the
    connection; the server drops the rest by itself. The whole body is read only if the client closes the connection
    after the answer: one that is closed with unread bytes is reset, and the client may lose the answer.

    Args:
        scope: ASGI scope of the request.
        receive: Returns the messages of the body.
        most: Approximate maximum number of bytes to read.
    """
    headers = dict(scope["headers"])
    if headers.get(b"connection", b"").lower() != b"close":
        if b"expect" not in headers:  # a read would tell the client to continue
            arrived = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            arrived.cancel()
        return
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
