"""The command itself, in a process of its own."""

import builtins
import json
import os
import runpy
import signal
import socket
import urllib.request
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.serving import run
from protoquant.serving.config import MIB, ServeConfig
from tests.builders.pictures import encoded
from tests.servers import free_ports
from tests.serving.running import EVERYWHERE, serving


@pytest.mark.process
def test_the_command_answers_and_ends_when_asked(bundles) -> None:
    (port,) = free_ports(1)
    with serving(bundles[0], "--port", str(port)) as (process, at, written):
        assert at == port
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", encoded(1), {"Content-Type": "image/png"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 (loopback)
            assert len(json.load(reply)["answers"]) == 1
        taken = CliRunner().invoke(app, ["serve", str(bundles[0]), "--port", str(port)], env={"COLUMNS": "200"})
        assert taken.exit_code == 1
        assert f"cannot listen on 127.0.0.1:{port} (Address already in use); choose another --port" in taken.output
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n1234"
        )
        process.send_signal(signal.SIGINT)
        half.sendall(b"56789")  # what is at work is finished
        assert b" 422 " in half.recv(4096)
        half.close()
        assert process.wait(timeout=30) == 0
    lines = [json.loads(line) for line in written]
    assert {line["version"] for line in lines if line["message"] == "request"} == {lines[-1]["version"]}
    assert [line["status"] for line in lines if line["message"] == "request"] == [200, 422]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere", "--port", "0"], 1, "nowhere"),
        (["models:/", "--port", "0"], 1, "no model registry"),
        (["bundle", "--port", "70000"], 2, "serve.port must be an integer >= 0 and <= 65535, got 70000"),
        (["bundle", "--queue", "0"], 2, "serve.queue"),
        (["bundle", "--host", EVERYWHERE], 2, "and no token is set; give --token-file FILE"),
        (["bundle", "--allowed-host", "https://a.org"], 2, "serve.allowed_hosts.0: expected a name alone"),
        (["bundle", "--token-file", "nowhere"], 2, "--token-file nowhere cannot be read: No such file"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, code, text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    result = CliRunner().invoke(app, ["serve", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert text in result.output


def test_a_missing_extra_is_named(monkeypatch) -> None:
    """The service is imported anew, from its file, where uvicorn cannot be."""

    def without(name, *rest, given=builtins.__import__):
        if name == "uvicorn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return SimpleNamespace(**runpy.run_path(run.__file__)) if name == run.__name__ else given(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = CliRunner().invoke(app, ["serve", "bundle"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "serve needs uvicorn; install it with: pip install 'protoquant[serving]'" in result.output


def test_help_shows_the_defaults_of_the_config():
    config = ServeConfig()
    mebi = {"max_image_mib": "max_image_bytes", "max_request_mib": "max_request_bytes"}
    command = get_command(app).commands["serve"]
    shown = {one.name: one.show_default for one in command.params if isinstance(one.show_default, str)}
    assert len(shown) == 11
    for name, text in shown.items():
        value = getattr(config, mebi[name]) / MIB if name in mebi else getattr(config, name)
        assert float(text.replace(",", "")) == value, name


def test_answers_are_sent_without_delay():
    with run._bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio's condition for TCP_NODELAY
