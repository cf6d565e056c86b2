"""The index of a mirror: for each file, the object it came from and the bytes it must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from protoquant.core.files import written_aside

SCHEMA = 1


@dataclass(frozen=True)
class IndexEntry:
    """A file that was fetched whole.

    Attributes:
        etag: ETag of the object.
        size: Size in bytes.
        sha256: SHA-256 of the file.
        mtime: Time of the file's last change, in nanoseconds; while it and the size stay, the content is assumed to
            stay.
    """

    etag: str
    size: int
    sha256: str
    mtime: int


class Index:
    """``index.json`` of a complete mirror, and beside it ``journal.jsonl`` while the mirror is being changed.

    The journal gets a line for each finished file, so that a killed download loses none.
    """

    def __init__(self, folder: Path) -> None:
        self._index = folder / "index.json"
        self._journal = folder / "journal.jsonl"

    @property
    def complete(self) -> bool:
        """Whether the last change was finished."""
        return self._index.is_file() and not self._journal.exists()

    def load(self) -> dict[str, IndexEntry]:
        """Read all known files; entries that a kill or a full disk left half written are skipped."""
        known: dict[str, IndexEntry] = {}
        with suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(self._index.read_text(encoding="utf-8"))
            if content["schema"] == SCHEMA:
                known = {name: IndexEntry(*values) for name, values in content["files"].items()}
        with suppress(OSError):
            for line in self._journal.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, TypeError):
                    name, values = json.loads(line)
                    known[name] = IndexEntry(*values)
        return known

    def begin(self) -> None:
        """Record that the mirror is about to change."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends a line that a kill cut off

    def record(self, name: str, entry: IndexEntry) -> None:
        """Add one finished file to the journal."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, astuple(entry)]) + "\n")

    def finish(self, entries: Mapping[str, IndexEntry]) -> None:
        """Write the whole index atomically and remove the journal."""
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "files": {name: astuple(entries[name]) for name in sorted(entries)},
        }
        with (
            written_aside(self._index, self._index.with_suffix(".partial")) as aside,
            aside.open("w", encoding="utf-8") as file,
        ):
            json.dump(content, file)
        self._journal.unlink(missing_ok=True)
