import json
import logging
import sys

import pytest
from starlette.testclient import TestClient

from protoquant.serving.config import ServeConfig
from protoquant.serving.http.logs import JsonLines
from protoquant.serving.http.record import _request_id
from protoquant.serving.service import create_app
from tests.builders.pictures import encoded

RAW = {"Content-Type": "application/octet-stream"}


def test_every_line_is_json_with_the_version(versions, caplog) -> None:
    lines = JsonLines(versions.current)
    with caplog.at_level(logging.INFO, "protoquant"), TestClient(create_app(versions, ServeConfig())) as client:
        client.post("/predict", content=encoded(1), headers={**RAW, "X-Request-ID": "abc-1"})
        client.post("/predict", files={"image": ('"}\n{evil', b"text\n{}")})
        client.get("/a%0Ab")
    written = [lines.format(record) for record in caplog.records if record.name.startswith("protoquant")]
    assert all("\n" not in line for line in written)
    found = [json.loads(line) for line in written]
    assert {(one["model"], one["version"]) for one in found} == {("birds", "1")}
    first, second, third = [one for one in found if one["message"] == "request"]
    assert {**first, "time": 0, "ms": 0} == {
        "time": 0,
        "level": "info",
        "message": "request",
        "model": "birds",
        "version": "1",
        "request": "abc-1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "ms": 0,
        "images": 1,
        "errors": {},
    }
    assert (second["status"], second["errors"]) == (422, {"not_an_image": 1})
    assert "evil" not in json.dumps(found)
    assert third["status"] == 404


def test_a_trace_stays_in_its_line() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed %s", ("here",), sys.exc_info())
    line = JsonLines(lambda: None).format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["message"], found["model"], found["version"]) == ("failed here", None, None)
    assert "ZeroDivisionError: division by zero" in found["trace"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_X", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False), ("ä", False)],
)
def test_an_id_is_taken_where_it_is_short_and_plain(given: str, kept: bool) -> None:
    found = _request_id({"headers": [(b"x-request-id", given.encode())]})
    assert (found == given) == kept
    assert found.isascii()
    assert 0 < len(found) <= 64
