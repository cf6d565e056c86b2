"""An HTTP connection with two bounds that uvicorn's own lacks: bytes read at once, and time for the headers."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from protoquant.serving.http.refusal import RefusedError

READ = 16 * 1024
"""Bytes read at once. Ten thousand clients may send before the first is refused, and each holds a read in memory."""
HEAD_SECONDS = 10.0
"""Seconds from the first byte, or the opening of the connection, to the end of the request's headers."""


class Connection(H11Protocol):
    """Reads little at a time, and closes if the headers of a request do not arrive in time."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with the same time limit for the first request as for later ones."""
        transport.max_size = READ  # type: ignore[attr-defined]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read data, then start or stop the timer for the headers."""
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection and its timer."""
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP, with a body like that of every refusal."""
        text = f"{msg.rstrip('.')}; expected a whole head with exactly one Host header"
        super().send_400_response(RefusedError(400, "not_http", text).body(secrets.token_hex(8)).decode())

    def _await_head(self) -> None:
        waiting = self.conn.their_state is h11.IDLE
        if waiting and self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif not waiting and self._head is not None:
            self._head.cancel()
            self._head = None
