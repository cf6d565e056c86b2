"""The machine's Chromium, and another server whose pages it shows."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, to which every name of example leads to this machine; without it a test is skipped, or fails in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "Chromium is missing: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    names = "--host-resolver-rules=MAP *.example 127.0.0.1"
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", names]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=switches)
        yield launched
        launched.close()


@contextmanager
def elsewhere(folder: Path) -> Iterator[int]:
    """Another server of this machine, with one empty page; its port."""
    (folder / "index.html").write_text("<!doctype html><title>elsewhere</title>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
