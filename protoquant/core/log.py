"""Turns events and log records into text: a bar on a terminal, elsewhere a line per tenth of the work.

Everything goes to standard error, so that standard output holds results alone.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from protoquant.core.events import EpochEvent, Event, MessageEvent, OnEvent, ProgressEvent, to_record

_FIRST_LINE_AFTER = 2.0  # seconds: shorter work needs no line of progress

RECORDS = "PROTOQUANT_RECORDS"
"""Environment variable that makes a command follow each line of progress with a machine-readable record."""


def configure(console: Console, *, verbose: bool) -> None:
    """Send the library's log records to a console; called by entry points (CLI, flows), never by steps."""
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("protoquant").setLevel(logging.DEBUG if verbose else logging.INFO)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow wonders about, quarantine says by name


@contextmanager
def listening(console: Console) -> Iterator[OnEvent]:
    """Show the events of a step while the block runs.

    Args:
        console: The console to write to.

    Yields:
        The callback to hand to a step.
    """
    if console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress)
    else:
        yield Lines(console, records=bool(os.environ.get(RECORDS)))


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


class _Bars:
    """One bar for each label."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, ProgressEvent):
            self._progress.console.print(_line(event), highlight=False, markup=False)
            return
        if event.done == 0 or event.label not in self._tasks:
            self._tasks[event.label] = self._progress.add_task(event.label, total=event.total, rate="")
            self._started[event.label] = time.monotonic()
        rate = _rate(event.done, time.monotonic() - self._started[event.label], event.unit)
        self._progress.update(self._tasks[event.label], completed=event.done, rate=rate)


class Lines:
    """One line for each tenth of the work, with its rate and the time left."""

    def __init__(self, console: Console, *, records: bool = False) -> None:
        self._console, self._records = console, records
        self._started: dict[str, float] = {}
        self._tenth: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Print an event, unless it is progress that needs no line."""
        text = self._progress(event) if isinstance(event, ProgressEvent) else _line(event)
        if text:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
            if self._records and isinstance(event, ProgressEvent):
                self._console.file.write(to_record(event) + "\n")

    def _progress(self, event: ProgressEvent) -> str:
        now = time.monotonic()
        if event.done == 0 or event.label not in self._started:
            self._started[event.label], self._tenth[event.label] = now, 0
        tenth = 10 * event.done // max(1, event.total)
        seconds = now - self._started[event.label]
        if tenth <= self._tenth[event.label] or seconds < _FIRST_LINE_AFTER:
            return ""
        self._tenth[event.label] = tenth
        left = seconds / event.done * (event.total - event.done)
        rate = _rate(event.done, seconds, event.unit)
        return f"{event.label}: {event.done}/{event.total} {event.unit}, {rate}, {left:.0f} s left"


def _rate(done: int, seconds: float, unit: str) -> str:
    if not done or seconds <= 0:
        return ""
    return f"{done / seconds:.1f} {unit}/s" if done >= seconds / 10 else f"{seconds / done:.0f} s each"


def _line(event: EpochEvent | MessageEvent) -> str:
    if isinstance(event, EpochEvent):
        values = ", ".join(f"{name} {value:.4g}" for name, value in event.values.items())
        return f"{event.label} {event.epoch}: {values}"
    return f"warning: {event.text}" if event.level == "warning" else event.text
