"""Events with which a step reports its progress without knowing its listener."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ProgressEvent:
    """``done`` of ``total`` units of the work called ``label`` are finished."""

    label: str
    done: int
    total: int
    unit: str = "images"


@dataclass(frozen=True)
class EpochEvent:
    """The values measured at the end of an epoch (or of a point of a path), counted from 1."""

    label: str
    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class MessageEvent:
    """One sentence for the user."""

    text: str
    level: Literal["info", "warning"] = "info"


Event = ProgressEvent | EpochEvent | MessageEvent
OnEvent = Callable[[Event], None]


_MARK = "@progress "
"""Prefix that marks a record among lines of text."""


def to_record(event: ProgressEvent) -> str:
    """Write progress as one line that :func:`from_record` reads in another process."""
    return _MARK + json.dumps(asdict(event))


def from_record(line: str) -> ProgressEvent | None:
    """Read a line of :func:`to_record`; None for any other line."""
    if not line.startswith(_MARK):
        return None
    try:
        return ProgressEvent(**json.loads(line.removeprefix(_MARK)))
    except (ValueError, TypeError):
        return None


def ignore(event: Event) -> None:
    """Discard an event."""


def track(items: Iterable[T], label: str, total: int, unit: str, on_event: OnEvent) -> Iterator[T]:
    """Pass items through and report after each one how many are done.

    Args:
        items: The items that are worked on.
        label: Name of the work.
        total: Number of units expected.
        unit: Name of the items, in the plural.
        on_event: Receives the progress.

    Yields:
        The items, unchanged.
    """
    on_event(ProgressEvent(label, 0, total, unit))
    for done, item in enumerate(items, start=1):
        yield item
        on_event(ProgressEvent(label, done, total, unit))
