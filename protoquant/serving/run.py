"""Run the service as a process: bind its socket, handle its signals and shut it down gracefully."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import prometheus_client
import uvicorn

from protoquant.core.errors import ProtoQuantError
from protoquant.core.runtime import Runtime
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.access import OPEN, require_token
from protoquant.serving.http.connection import Connection
from protoquant.serving.http.logs import to_stderr
from protoquant.serving.service import create_app
from protoquant.serving.versions import ModelSource, Versions

_BACKLOG = 4096
_log = logging.getLogger(__name__)


def run(source: ModelSource, config: ServeConfig, *, on_ready: Callable[[str], None]) -> None:
    """Serve until the process is asked to end, then finish the requests in progress.

    Args:
        source: The source of the model.
        config: Address and limits.
        on_ready: Receives a line that names model and address, as soon as requests are answered.

    Raises:
        UsageError: Other machines could reach the service, and no token is set.
        ProtoQuantError: The port is taken, or the source gives no model.
    """
    require_token(config)
    _raise_file_limit()
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    with _bound(config.host, config.port) as listening:
        versions = Versions(source, every=config.poll)
        to_stderr(versions.current)
        _log_who_is_answered(config)
        served = versions.load()
        runtime = Runtime.from_environment()
        workers = runtime.workers if served.model.device.type == "cpu" else 1
        app = create_app(versions, config, workers=workers)
        host = f"[{config.host}]" if ":" in config.host else config.host
        line = f"serving {served.name} version {served.version} at http://{host}:{listening.getsockname()[1]}"
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                http=Connection,
                ws="none",
                server_header=False,
                proxy_headers=False,  # a client must not be able to change how its request is seen
                backlog=_BACKLOG,
                timeout_graceful_shutdown=int(config.timeout) + 1,
            ),
            lambda: on_ready(line),
        )
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends gracefully, then raises the signal once more
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Reports when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]):
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report it."""
        await super().startup(sockets)
        if self.started:
            self._on_started()


def _log_who_is_answered(config: ServeConfig) -> None:
    if config.token:
        _log.info("the token is required; without it %s alone answers, and does not name the model", OPEN)
    elif config.insecure:
        _log.warning("--insecure: whoever reaches %s is answered without a token", config.host)
    else:
        _log.info("no token is set: every program of this machine is answered on every path, foreign pages are not")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named; without it, a head would wait 40 ms for its body.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        message = f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port or --host"
        raise ProtoQuantError(message) from error
    return made


def _raise_file_limit() -> None:
    """Allow as many open files as the system permits, since every connection is one."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
