"""Finished shards where machines without a common disk find them: in a folder of objects, such as one in S3.

An entry is ``KEY/shard.safetensors`` and then ``KEY/entry.json``, which names the digest of the shard that is there: an
entry is whole or absent. Trouble with the store never ends an extraction; it is said once, and work goes on here.
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
    """A folder of objects, as ``storage.objects.ObjectFolder``; all of it may raise a ``ProtoQuantError``."""

    def below(self, name: str) -> Self:
        """A folder inside this one."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None where there is none."""

    def fetch(self, name: str, folder: Path) -> str:
        """Fetch an object to a file and return its SHA-256; empty where it is missing or does not arrive whole."""

    def put(self, name: str, content: Path | bytes, digest: str, *, replace: bool = False) -> str:
        """Put an object where there is none, or in any case; return the SHA-256 of what is there afterwards."""


OpenObjects = Callable[[], Objects]
"""Opens the folder; each process opens its own, so it travels between processes."""


class SharedCache:
    """The shared feature cache, as one process sees it.

    Args:
        open_objects: Opens the folder, when it is first needed.
        on_event: Hears of damaged entries, and once of each trouble.
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
        """What was last wrong when an entry was asked for; empty for nothing."""
        return self._reading.reason

    def fetch(self, key: str, folder: Path, *, patient: bool = True) -> bool:
        """Bring an entry into a folder.

        Args:
            key: Names the content.
            folder: Exists; what it holds is of use only where the answer is yes.
            patient: Whether a store that has just failed is left alone for a while.

        Returns:
            Whether the whole entry is there. No: it is absent or damaged, or the store is away.
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
        """Upload an entry where there is none, or a damaged one; of two writers the first one's stays.

        When it has gone well, those that an outage has kept back follow.

        Args:
            key: Names the content.
            folder: A whole local entry.
            patient: Whether a store that has just failed is left alone for a while.

        Returns:
            Why it is not there; empty where it is.
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
                del self._kept_back[other]  # pruned meanwhile
        return reason

    def tell(self, reason: str) -> None:
        """Say once what is wrong with the store, in this process or in another."""
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
    """After failures in a row ever more questions are not asked: each may take a minute to fail."""

    def __init__(self) -> None:
        self.reason = ""
        self._failures = self._pause = 0

    def asks(self) -> bool:
        """Whether to ask now; after the n-th failure not for 2**n - 1 times."""
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
    """What an entry says; None where it is none."""
    try:
        entry = json.loads(data)
    except ValueError:
        return None
    if not isinstance(entry, dict) or {name: type(value) for name, value in entry.items()} != _FIELDS:
        return None
    fits = entry["schema"] == SCHEMA and len(entry["digest"]) == _DIGEST_LETTERS
    return entry if fits else None
