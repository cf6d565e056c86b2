"""The outermost middleware, which gives every request an id, exactly one answer, a log line and a count."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protoquant.serving.http.metrics import Metrics
from protoquant.serving.http.refusal import RefusedError
from protoquant.serving.versions import Served

PATHS = ("/predict", "/explain", "/health", "/metrics", "/openapi.json")
_KEY = "protoquant.account"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)


@dataclass
class RequestRecord:
    """The record of a request.

    Attributes:
        request: Its id.
        served: The model that answers it; None until it is known.
        images: Number of images in it.
        abstained: Number of answers that abstain.
        kinds: Number of errors by kind, of the request or of single images.
        status: HTTP status of the answer; 0 before the answer has begun.
        over: Whether the whole answer was sent.
        stranger: Whether it came without the token that the service asks for.
    """

    request: str
    served: Served | None = None
    images: int = 0
    abstained: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    status: int = 0
    over: bool = False
    stranger: bool = False


def account(scope: Scope) -> RequestRecord:
    """The record of a request."""
    found: RequestRecord = scope[_KEY]
    return found


class RequestMiddleware:
    """ASGI middleware that turns a :class:`RefusedError` into an answer, and any other error into a 500 without trace.

    Args:
        app: The wrapped application.
        metrics: The metrics of the service.
        current: Returns the model in use, for requests that no model answers.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, current: Callable[[], Served | None]):
        self._app = app
        self._metrics = metrics
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = scope[_KEY] = RequestRecord(_request_id(scope))
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                known.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", known.request.encode())]
            known.over = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except RefusedError as refusal:
            known.kinds[refusal.kind] += 1
            await self._refuse(refusal, known, sending)
        except Exception:  # noqa: BLE001 (the log has the details, the answer must not)
            known.kinds["internal"] += 1
            _log.exception("unexpected error", extra={"request": known.request})
            text = "the service failed on this request; its log has the reason under the request's id"
            await self._refuse(RefusedError(500, "internal", text), known, sending)
        finally:
            self._close(scope, known, time.perf_counter() - started)

    async def _refuse(self, refusal: RefusedError, known: RequestRecord, send: Send) -> None:
        if known.status:
            raise refusal  # the answer has begun: the server cuts the connection
        body = refusal.body(known.request)
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def _close(self, scope: Scope, known: RequestRecord, seconds: float) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        self._metrics.record(path, known.status, seconds)
        self._metrics.content(known.images, known.abstained, known.kinds)
        served = known.served or self._current()
        said = {
            "request": known.request,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": known.status,
            "ms": round(1e3 * seconds, 1),
            "images": known.images,
            "errors": dict(known.kinds),
        }
        if served is not None:
            said |= {"model": served.name, "version": served.version}
        level = logging.DEBUG if path in ("/health", "/metrics") and known.status == 200 else logging.INFO
        _log.log(level, "request", extra=said)


def _request_id(scope: Scope) -> str:
    """The client's own id where it is short and plain, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text = given.decode("latin-1")
    return text if _PLAIN_ID.fullmatch(text) else secrets.token_hex(8)
