"""One real S3 server for all tests of the folder, a new bucket for each test."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from protoquant.storage.client import Client, connect
from protoquant.storage.location import Location
from tests.servers import weed_mini


@dataclass(frozen=True)
class Store:
    """A bucket of the server, and the variables that lead there."""

    client: Client
    bucket: str
    variables: dict[str, str]

    def put(self, key: str, body: bytes, **options: object) -> None:
        self.client.api.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def delete(self, key: str) -> None:
        self.client.api.delete_object(Bucket=self.bucket, Key=key)

    def location(self, prefix: str = "") -> Location:
        return Location(self.bucket, prefix)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a running server."""
    with weed_mini(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings of boto3 but those that a test makes."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return monkeypatch


@pytest.fixture
def store(server: dict[str, str], alone: pytest.MonkeyPatch) -> Store:
    """A new bucket."""
    for name, value in server.items():
        alone.setenv(name, value)
    client, bucket = connect(), f"b-{uuid.uuid4().hex[:12]}"
    client.api.create_bucket(Bucket=bucket)
    return Store(client, bucket, server)


Answer = tuple[int, dict[str, str], str]


@pytest.fixture
def pretend(alone: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[str, str], Answer]], str]]:
    """Start a server that answers each request (method, path) as a function says; returns its URL."""
    started: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[str, str], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = answer(self.command, self.path)
                data = body.encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_HEAD = do_PUT = do_GET  # noqa: N815 (http.server)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        started.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for name, value in {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            alone.setenv(name, value)
        alone.setenv("AWS_ACCESS_KEY_ID", "key")
        alone.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return url

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
