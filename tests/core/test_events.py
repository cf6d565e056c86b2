"""Progress: what a step tells, and the lines that are made of it."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from protoquant.core import events, log
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


def test_progress_comes_with_its_fields_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(log.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setenv(log.RECORDS, "1")
    out = io.StringIO()
    with log.listening(Console(file=out)) as listen:
        listen(ProgressEvent("a: 1/2", 0, 4))
        listen(ProgressEvent("a: 1/2", 2, 4))
        listen(MessageEvent("done"))
    text, record, last = out.getvalue().splitlines()
    assert (text[:19], last) == ("a: 1/2: 2/4 images,", "done")
    assert events.from_record(record) == ProgressEvent("a: 1/2", 2, 4)
    assert [events.from_record(line) for line in (text, last)] == [None, None]


@given(st.builds(ProgressEvent, st.text(), st.integers(), st.integers(), st.text()))
def test_a_record_is_one_line_and_is_read_back(event: ProgressEvent) -> None:
    record = events.to_record(event)
    assert len(record.splitlines()) == 1
    assert events.from_record(record) == event


@pytest.mark.parametrize(
    "line", ["", "a: 1/2 images", '@progress {"label": 1}', "@progress [", '@progress "a"', "@progress 3", "@progress"]
)
def test_what_is_no_record_is_none(line: str) -> None:
    assert events.from_record(line) is None
