"""A cache of finished shards for machines without a common disk: a folder of objects, such as one in S3.

``KEY/shard.safetensors`` is written first, then ``KEY/entry.json`` with its digest, so an entry is complete or absent.
A failure of the store is reported once, and the work continues locally; it ends a run only when another machine alone
has a shard.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

from protoquant.core.artifacts import digest_bytes, read_json, write_json
from protoquant.core.errors import ProtoQuantError
from protoquant.core.events import MessageEvent, OnEvent

SCHEMA = 1
SHARD = "shard.safetensors"
ENTRY = "entry.json"
_DIGEST_LETTERS = 64
_FIELDS = {"schema": int, "backbone": str, "images": int, "digest": str}


class Objects(Protocol):
    """A folder of objects, such as ``storage.objects.ObjectFolder``; every method may raise a ``ProtoQuantError``."""

    def below(self, name: str) -> Self:
        """A folder inside this one."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None if it does not exist."""

    def fetch(self, name: str, folder: Path) -> str:
        """Fetch an object to a file and return its SHA-256; empty if it is missing or arrives incomplete."""

    def put(self, name: str, content: Path | bytes, digest: str, *, replace: bool = False) -> str:
        """Put an object if there is none, or always with ``replace``; return the SHA-256 of the object kept."""


OpenObjects = Callable[[], Objects]
"""Opens the folder; it is passed between processes, and each process opens the folder itself."""


class SharedCache:
    """The shared feature cache, as one process sees it.

    Args:
        open_objects: Opens the folder when it is first needed.
        on_event: Receives a message about each damaged entry, and one about each kind of failure.
    """

    def __init__(self, open_objects: OpenObjects, on_event: OnEvent) -> None:
        self.open_objects, self._on_event = open_objects, on_event
        self._opened: Objects | None = None
        self._reading, self._writing = _Patience(), _Patience()
        self._damaged: set[str] = set()
        self._told: set[str] = set()
        self._kept_back: dict[str, Path] = {}

    @property
    def trouble(self) -> str:
        """The reason why the last fetch failed; empty if it did not fail."""
        return self._reading.reason

    def fetch(self, key: str, folder: Path, *, patient: bool = True) -> bool:
        """Fetch an entry into a folder.

        Args:
            key: Key of the content.
            folder: An existing folder; its content is valid only if the result is True.
            patient: Whether to leave a store that has just failed alone for a while.

        Returns:
            Whether the complete entry was fetched; False if it is absent or damaged, or the store is unavailable.
        """
        if patient and not self._reading.asks():
            return False
        try:
            entry = self._entry(key)
            found = entry.read(ENTRY)
            if found is None:
                self._reading.succeeded()
                return False
            known = _parsed(found)
            whole = known is not None and entry.fetch(SHARD, folder) == known["digest"]
        except ProtoQuantError as error:
            self._reading.failed(str(error))
            self.tell(str(error))
            return False
        self._reading.succeeded()
        if not whole:
            self._damaged.add(key)
            text = f"shared feature cache: shard {key[:12]} is damaged; computing it again, to replace it"
            self._on_event(MessageEvent(text, "warning"))
            return False
        write_json(folder / ENTRY, known)
        return True

    def publish(self, key: str, folder: Path, *, patient: bool = True) -> str:
        """Upload an entry if there is none or a damaged one; of two writers, the first one's entry stays.

        After a success, the entries that an outage has held back are uploaded too.

        Args:
            key: Key of the content.
            folder: A complete local entry.
            patient: Whether to leave a store that has just failed alone for a while.

        Returns:
            The reason why it is not there; empty if it is.
        """
        self._kept_back[key] = folder
        if patient and not self._writing.asks():
            return self._writing.reason
        reason = self._publish(key, folder)
        while self._kept_back and not self._writing.reason:
            other, kept = next(iter(self._kept_back.items()))
            if kept.exists():
                self._publish(other, kept)
            else:
                del self._kept_back[other]  # pruned in the meantime
        return reason

    def tell(self, reason: str) -> None:
        """Report a failure of the store, in this process or another, once."""
        if reason not in self._told:
            self._told.add(reason)
            self._on_event(MessageEvent(f"shared feature cache: {reason}; going on without it", "warning"))

    def _publish(self, key: str, folder: Path) -> str:
        try:
            entry = self._entry(key)
            found = entry.read(ENTRY)
            if key in self._damaged or found is None or _parsed(found) is None:
                again, known = found is not None, read_json(folder / ENTRY)
                known["digest"] = entry.put(SHARD, folder / SHARD, known["digest"], replace=again)
                data = json.dumps(known, sort_keys=True).encode()
                entry.put(ENTRY, data, digest_bytes(data), replace=again)
        except (ProtoQuantError, OSError) as error:
            self._writing.failed(str(error))
            self.tell(str(error))
            return self._writing.reason
        self._writing.succeeded()
        self._damaged.discard(key)
        self._kept_back.pop(key, None)
        return ""

    def _entry(self, key: str) -> Objects:
        if self._opened is None:
            self._opened = self.open_objects()
        return self._opened.below(key)


class _Patience:
    """Skips more and more requests after consecutive failures, because each may take a minute to fail."""

    def __init__(self) -> None:
        self.reason = ""
        self._failures = self._pause = 0

    def asks(self) -> bool:
        """Whether to send a request now; after the n-th consecutive failure, 2**n - 1 requests are skipped."""
        if self._pause:
            self._pause -= 1
            return False
        return True

    def succeeded(self) -> None:
        self._failures = self._pause = 0
        self.reason = ""

    def failed(self, reason: str) -> None:
        self.reason = reason
        self._failures += 1
        self._pause = 2**self._failures - 1


def _parsed(data: bytes) -> dict[str, Any] | None:
    """The content of an entry; None if it is not a valid one."""
    try:
        entry = json.loads(data)
    except ValueError:
        return None
    if not isinstance(entry, dict) or {name: type(value) for name, value in entry.items()} != _FIELDS:
        return None
    fits = entry["schema"] == SCHEMA and len(entry["digest"]) == _DIGEST_LETTERS
    return entry if fits else None
