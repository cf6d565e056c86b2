"""A real MLflow server, and a link to it that can be lost at any request."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from tests.servers import free_ports

PASS, CUT, LOSE, FAIL, DENY = "pass", "cut", "lose", 503, 401
"""Let a request through; cut the line before it; lose its answer; answer it with this status."""
_DEADLINE = 90.0


@contextmanager
def mlflow_server(folder: Path, database: Path, *, port: int | None = None, **variables: str) -> Iterator[str]:
    """Run MLflow on a database file, artifacts through the server, and give its URL.

    Args:
        folder: For artifacts and log.
        database: The file.
        port: A free one where not given.
        variables: Of the environment; beside them ``destination`` of the artifacts, and ``app``, such as basic-auth.
    """
    port = port or free_ports(1)[0]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{database}", "--serve-artifacts"),
        *("--artifacts-destination", variables.pop("destination", str(folder / "artifacts"))),
        *(("--app-name", variables.pop("app")) if "app" in variables else ()),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", **variables}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(f"http://127.0.0.1:{port}/health", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        family = psutil.Process(server.pid).children(recursive=True)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        psutil.wait_procs(family, timeout=10)  # the last of them lets go of the port


class Link:
    """A line to a server; what becomes of each request is for the test to say.

    Attributes:
        url: Where clients go.
        rule: Called with method and path of each request.
        seen: Method and path of each request so far.
    """

    def __init__(self, url: str) -> None:
        self.seen: list[str] = []
        self.rule: Callable[[str], str | int] = lambda _: PASS
        self._target = url.removeprefix("http://")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def lose_from(self, part: str, how: str | int = CUT) -> None:
        """From the first request on that has a part in it, all are lost."""
        lost = False

        def rule(request: str) -> str | int:
            nonlocal lost
            lost = lost or part in request
            return how if lost else PASS

        self.rule = rule

    def lose_once(self, part: str, how: str | int = LOSE) -> None:
        """Lose the first request that has a part in it, or its answer."""
        done = False

        def rule(request: str) -> str | int:
            nonlocal done
            if done or part not in f"{request} ":
                return PASS
            done = True
            return how

        self.rule = rule

    def kill_at(self, part: str, pid: Callable[[], int]) -> None:
        """Kill a process at its first request that has a part in it."""

        def rule(request: str) -> str:
            if part not in request:
                return PASS
            os.kill(pid(), signal.SIGKILL)
            return CUT

        self.rule = rule

    def mend(self) -> None:
        """All requests pass again."""
        self.rule = lambda _: PASS

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"link": self, "target": self._target})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet; else each answer waits for an acknowledgement
    link: Link
    target: str

    def _pass_on(self) -> None:
        request = f"{self.command} {self.path}"
        self.link.seen.append(request)
        body = self._body()
        what = self.link.rule(request)
        if isinstance(what, int):
            self.send_error(what)
            return
        answer = self._asked(body) if what in (PASS, LOSE) else None
        if answer is None or what == LOSE:
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name != "Transfer-Encoding"}
        server = http.client.HTTPConnection(self.target, timeout=60)
        try:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # What requests makes of an empty file.
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (loopback)
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"no answer at {url}:\n{log.read_text(errors='replace')[-2000:]}")
