"""Progress: what a step tells, and the lines that are made of it."""

import io

import pytest
from rich.console import Console

from protoquant.core import log
from protoquant.core.events import EpochEvent, Event, MessageEvent, ProgressEvent, track


def test_track_reports_before_the_first_and_after_each_item() -> None:
    seen: list[Event] = []
    assert list(track("ab", "decode", 2, "images", seen.append)) == ["a", "b"]
    assert seen == [ProgressEvent("decode", done, 2, "images") for done in (0, 1, 2)]


def test_elsewhere_than_on_a_terminal_each_tenth_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr(log.time, "monotonic", lambda: float(next(clock)))
    out = io.StringIO()
    listen = log.Lines(Console(file=out))
    for done in range(101):
        listen(ProgressEvent("decode", done, 100, "images"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "decode: 10/100 images, 0.3 images/s, 270 s left"
    assert lines[-1].startswith("decode: 100/100 images")
    assert lines[-1].endswith("0 s left")


def test_epochs_and_messages_are_one_line_each() -> None:
    out = io.StringIO()
    with log.listening(Console(file=out)) as listen:
        listen(EpochEvent("k-means", 2, {"error": 0.123456}))
        listen(MessageEvent("[one] bad image", "warning"))
    assert out.getvalue().splitlines() == ["k-means 2: error 0.1235", "warning: [one] bad image"]


def test_a_terminal_gets_a_bar_and_the_messages_above_it() -> None:
    out = io.StringIO()
    with log.listening(Console(file=out, force_terminal=True, width=100)) as listen:
        listen(ProgressEvent("decode", 0, 4))
        listen(MessageEvent("hello"))
        listen(ProgressEvent("decode", 4, 4))
    assert "hello" in out.getvalue()
    assert "decode" in out.getvalue()


def test_the_lines_of_progress_are_read_back() -> None:
    assert log.progress_in("patch pictures: 282/507 images, 140.9 images/s, 2 s left") == ProgressEvent(
        "patch pictures", 282, 507, "images"
    )
    assert log.progress_in("head 3: temperature 0.05, class_size 7") is None
    assert log.progress_in("a: 1/2 of it") is None
