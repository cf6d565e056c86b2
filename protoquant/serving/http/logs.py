"""Write log records as lines of JSON, each with the model in use."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from protoquant.serving.versions import Served

_OWN = ("model", "version", "request", "method", "path", "status", "ms", "images", "errors")


class JsonLines(logging.Formatter):
    """Formats each record as one JSON object: time, level, message, model, version and the record's extra fields.

    Args:
        current: Returns the model in use, for records that name none.
    """

    def __init__(self, current: Callable[[], Served | None]):
        super().__init__()
        self._current = current

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        served = self._current()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "model": served.name if served else None,
            "version": served.version if served else None,
        }
        line |= {name: record.__dict__[name] for name in _OWN if name in record.__dict__}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def to_stderr(current: Callable[[], Served | None], *, level: int = logging.INFO) -> None:
    """Send every record of the process, and Python's warnings, to standard error as JSON; only the edge calls this.

    Args:
        current: Returns the model in use.
        level: Lowest level of the library's own records; others are written from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(current))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("protoquant").setLevel(level)
    logging.captureWarnings(capture=True)
