"""What a real service refuses: strangers, other names, and pages that a browser shows."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.serving.http.token import VARIABLE
from tests.browser import chromium, elsewhere
from tests.builders.pictures import encoded
from tests.serving.running import EVERYWHERE, TOKEN, serving

pytestmark = pytest.mark.browser

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PNG = {"Content-Type": "image/png"}


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request("GET" if body is None else "POST", path, body, named)
        reply = line.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


def sent(port: int, head: bytes) -> tuple[bytes, dict[str, str]]:
    """The first line and the body of the answer to a head written by hand."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(head + b"Connection: close\r\n\r\n")
        whole = b"".join(iter(partial(line.recv, 4096), b""))
    return whole.partition(b"\r\n")[0], json.loads(whole.partition(b"\r\n\r\n")[2])


def images(port: int, **headers: str) -> float:
    """Images that the service has counted."""
    found = re.search(rb"^protoquant_images_total (\S+)$", ask(port, "/metrics", **headers)[2], re.MULTILINE)
    assert found
    return float(found[1])


def test_beyond_this_machine_only_who_has_the_token_is_answered_and_nothing_shows_it(bundles) -> None:
    given = {VARIABLE: TOKEN}
    with serving(bundles[0], "--host", EVERYWHERE, "--port", "0", variables=given) as (process, port, written):
        status, headers, body = ask(port, "/predict", encoded(1), **PNG)
        assert (status, headers["www-authenticate"], json.loads(body)["kind"]) == (401, "Bearer", "token")
        assert ask(port, "/predict", encoded(1), **PNG, Authorization=f"Bearer {TOKEN}x")[0] == 401
        assert ask(port, "/metrics")[0] == 401
        assert json.loads(ask(port, "/health")[2]) == {"status": "ok"}
        assert images(port, **BEARER) == 0
        assert ask(port, "/predict", encoded(1), **PNG, **BEARER)[0] == 200
        assert ask(port, "/predict", b"no image", **PNG, **BEARER)[0] == 422
        assert TOKEN not in " ".join(psutil.Process(process.pid).cmdline())
    assert not [line for line in written if TOKEN in line]
    assert sum("the token is required; without it /health alone answers" in line for line in written) == 1
    assert sum('"kind"' not in line and '"token": 1' in line for line in written) == 3


def test_insecure_is_logged_once_and_lets_in_no_other_name(bundles) -> None:
    with serving(bundles[0], "--host", EVERYWHERE, "--port", "0", "--insecure") as (_, port, written):
        assert ask(port, "/predict", encoded(1), **PNG)[0] == 200
        assert json.loads(ask(port, "/predict", b"", **PNG)[2])["kind"] == "zero_bytes"
        status, _, body = ask(port, "/health", Host="rebound.example", X_Forwarded_Host="localhost")
        assert (status, json.loads(body)["kind"]) == (403, "host")
        forwarded = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "127.0.0.1", "Forwarded": "proto=https"}
        assert ask(port, "/predict", encoded(1), Origin=f"https://127.0.0.1:{port}", **forwarded)[0] == 403
        assert images(port) == 2
        for head, status_line, kind in (
            (b"GET /health HTTP/1.0\r\n", b"HTTP/1.1 403 Forbidden", "host"),
            (b"GET /health HTTP/1.1\r\n", b"HTTP/1.1 400 Bad Request", "not_http"),
            (
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
                b"HTTP/1.1 400 Bad Request",
                "not_http",
            ),
        ):
            first, refusal = sent(port, head)
            assert (first, refusal["kind"], set(refusal)) == (status_line, kind, {"error", "kind", "request"})
    lines = [json.loads(line) for line in written]
    (warning,) = [line for line in lines if "--insecure" in line["message"]]
    assert warning["level"] == "warning"
    assert [line["errors"] for line in lines if line.get("status") == 403] == [{"host": 1}, {"origin": 1}, {"host": 1}]


def test_a_token_given_wrongly_is_one_line_that_does_not_show_it(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    for options, variable, text in (
        (["--token-file", str(file)], None, f"make it private: chmod 600 {file}"),
        (["--token-file", str(file)], TOKEN, "the token is given twice"),
        ([], "tooshort", f"expected a token of 16 or more characters of ASCII without spaces in {VARIABLE}, got 8"),
        (["--insecure"], TOKEN, "leave one of them out"),
    ):
        result = CliRunner().invoke(app, ["serve", "bundle", *options], env={VARIABLE: variable, "COLUMNS": "200"})
        assert result.exit_code == 2
        (line,) = result.output.splitlines()
        assert text in line
        assert TOKEN not in line
        assert "tooshort" not in line


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Chromium, to which every name of example leads to this machine."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[int]:
    """Port of another server of this machine."""
    with elsewhere(tmp_path) as port:
        yield port


ATTEMPTS = """async ({target, png}) => {
  const image = new Blob([Uint8Array.from(atob(png), c => c.charCodeAt(0))], {type: 'image/png'});
  const form = new FormData();
  form.append('image', image);
  const attempt = async (path, options) => {
    try {
      const reply = await fetch(target + path, options);
      return [reply.type, reply.status, await reply.text()];
    } catch (error) { return error.name; }
  };
  const embed = name => new Promise(done => {
    const element = document.createElement(name);
    element.onload = () => done('loaded');
    element.onerror = () => done('refused');
    element.src = target + '/openapi.json';
    document.body.append(element);
  });
  return {
    read: await attempt('/health'),
    form: await attempt('/predict', {method: 'POST', body: form}),
    blind: await attempt('/predict', {method: 'POST', body: form, mode: 'no-cors'}),
    image: await attempt('/predict', {method: 'POST', body: image}),
    script: await embed('script'),
  };
}"""
"""What a page can try: to read, to send a form with and without reading the answer, to send an image, to embed."""


def attempts(page: Page, port: int, host: str = "127.0.0.1") -> dict[str, object]:
    """Try everything from a page against the service."""
    target = f"http://{host}:{port}"
    found: dict[str, object] = page.evaluate(ATTEMPTS, {"target": target, "png": base64.b64encode(encoded(1)).decode()})
    return found


def test_foreign_pages_read_nothing_and_compute_nothing(bundles, browser: Browser, neighbour: int) -> None:
    with serving(bundles[0], "--port", "0") as (_, port, written):
        page = browser.new_page()
        for origin in (f"http://foreign.example:{neighbour}", f"http://127.0.0.1:{neighbour}"):
            page.goto(origin)
            assert attempts(page, port) == {
                "read": "TypeError",
                "form": "TypeError",
                "blind": ["opaque", 0, ""],
                "image": "TypeError",
                "script": "refused",
            }
        reply = page.goto(f"http://rebound.example:{port}/health")  # a foreign name that leads here
        assert reply is not None
        assert (reply.status, reply.json()["kind"]) == (403, "host")
        assert {seen[1] for seen in attempts(page, port, "rebound.example").values() if len(seen) == 3} == {403}
        assert images(port) == 0
        page.goto(f"http://foreign.example:{neighbour}")
        page.evaluate("target => { location = target }", f"http://127.0.0.1:{port}/health")  # a link that is followed
        page.wait_for_url("**/health")
        assert json.loads(page.inner_text("body"))["status"] == "ok"
        kind, status, text = attempts(page, port)["form"]  # the service's own page
        assert (kind, status, len(json.loads(text)["answers"])) == ("basic", 200, 1)
    refused = [json.loads(line) for line in written if '"status": 403' in line]
    assert sum(line["path"] == "/predict" and line["errors"] == {"origin": 1} for line in refused) >= 4
