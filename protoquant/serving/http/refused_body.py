"""The body of a refused request, which nobody reads."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope

_DRAIN_SECONDS = 2.0


async def let_go(scope: Scope, receive: Receive, most: int) -> None:
    """Let go of the body of a refused request.

    What has arrived with the headers would stay in the server's buffer as long as the connection; the rest it drops
    by itself. Only where the client closes after the answer all is read: a connection that is closed with unread
    bytes is reset, and the client may lose the answer.

    Args:
        scope: Of the request.
        receive: Gives its body.
        most: Bytes read, about at most.
    """
    headers = dict(scope["headers"])
    if headers.get(b"connection", b"").lower() != b"close":
        if b"expect" not in headers:  # to read would ask the client to go on
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
