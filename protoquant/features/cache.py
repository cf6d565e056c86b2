"""Finished shards outside any stage's output: named by their content, whole and checked, or absent."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from protoquant.core.artifacts import digest_file, read_json, save_tensors, write_json
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.features.dtypes import TOKENS

SCHEMA = 1
_SHARD = "shard.safetensors"
_ENTRY = "entry.json"
_PARTIAL = ".partial"
_LOCKS = "locks"
_FICLONE = 0x40049409  # linux/fs.h: make a file share the blocks of another


@dataclass(frozen=True)
class CachedShard:
    """A whole shard in the cache, and whether this call computed it."""

    path: Path
    computed: bool


@dataclass(frozen=True)
class CacheEntry:
    """What the cache holds under one key.

    Attributes:
        key: SHA-256 of all that decides the tokens.
        backbone: Name of the model.
        images: Images in the shard.
        size: In bytes.
        age: Seconds since it was last used.
    """

    key: str
    backbone: str
    images: int
    size: int
    age: float


@dataclass(frozen=True)
class FeatureCache:
    """A folder of shards that processes and worktrees share."""

    root: Path

    def shard(
        self, key: str, backbone: str, compute: Callable[[], Mapping[str, Tensor]], on_event: OnEvent
    ) -> CachedShard:
        """Find a shard, or compute and keep it; one process computes a key, others wait for it.

        A shard whose bytes are not those that were written is dropped, said, and computed again.

        Args:
            key: Names the content.
            backbone: Name of the model, for the listing.
            compute: Called where there is no such shard.
            on_event: Hears of a damaged shard.
        """
        with self._lock(key):
            folder = self.root / key
            if folder.exists() and self._whole(folder, key, on_event):
                os.utime(folder)
                return CachedShard(folder / _SHARD, computed=False)
            stored = compute()
            self._keep(folder, stored, {"schema": SCHEMA, "backbone": backbone, "images": len(stored[TOKENS])})
            return CachedShard(folder / _SHARD, computed=True)

    def entries(self) -> list[CacheEntry]:
        """All whole entries, the longest unused first."""
        now = time.time()
        found = []
        for folder in self._folders():
            with suppress(ArtifactError, KeyError, TypeError, FileNotFoundError):
                entry = read_json(folder / _ENTRY)
                size = (folder / _SHARD).stat().st_size
                age = max(0.0, now - folder.stat().st_mtime)
                found.append(CacheEntry(folder.name, entry["backbone"], entry["images"], size, age))
        return sorted(found, key=lambda entry: (-entry.age, entry.key))

    def prune(self, *, max_age: float | None = None, max_bytes: int | None = None) -> list[CacheEntry]:
        """Remove what has not been used for long, then the longest unused until the rest fits.

        Entries that a process is writing or reading stay. Stores already linked from an entry keep their bytes.

        Args:
            max_age: Seconds since the last use; None for no limit.
            max_bytes: Size of all that may stay; None for no limit.

        Returns:
            The removed entries.
        """
        removed = []
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        for entry in entries:
            stale = max_age is not None and entry.age > max_age
            if (stale or (max_bytes is not None and total > max_bytes)) and self._remove(entry.key):
                removed.append(entry)
                total -= entry.size
        for partial in sorted(self.root.glob(f"*{_PARTIAL}")):
            self._remove(partial.name.removesuffix(_PARTIAL), only_partial=True)
        return removed

    def _lock(self, key: str, timeout: float = -1) -> FileLock:
        locks = self.root / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock", timeout=timeout)

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (path for path in self.root.iterdir() if path.is_dir() and (path / _ENTRY).is_file())

    def _whole(self, folder: Path, key: str, on_event: OnEvent) -> bool:
        with suppress(ArtifactError, FileNotFoundError, KeyError, TypeError):
            entry = read_json(folder / _ENTRY)
            if entry["schema"] == SCHEMA and entry["digest"] == digest_file(folder / _SHARD):
                return True
        on_event(MessageEvent(f"feature cache: shard {key[:12]} is damaged; dropped, computing it again", "warning"))
        shutil.rmtree(folder)
        return False

    def _keep(self, folder: Path, stored: Mapping[str, Tensor], entry: dict[str, object]) -> None:
        """Write an entry aside and rename it, so that a kill leaves no half of it under its key."""
        partial = folder.with_name(folder.name + _PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_tensors(partial / _SHARD, stored)
        write_json(partial / _ENTRY, entry | {"digest": digest_file(partial / _SHARD)})
        for path in (partial / _SHARD, partial / _ENTRY):
            path.chmod(0o444)
            _sync(path)
        _sync(partial)
        partial.rename(folder)
        _sync(self.root)

    def _remove(self, key: str, *, only_partial: bool = False) -> bool:
        try:
            with self._lock(key, timeout=0):
                shutil.rmtree(self.root / f"{key}{_PARTIAL}", ignore_errors=True)
                if not only_partial:
                    shutil.rmtree(self.root / key)
        except Timeout:
            return False
        return True


def link(source: Path, target: Path) -> None:
    """Give a file a second name without a second copy where the file system can.

    A reflink shares the blocks, a hard link the file; across file systems the bytes are copied.

    Args:
        source: An existing file.
        target: A path that does not exist.

    Raises:
        ArtifactError: The source has gone.
    """
    if not source.is_file():
        raise ArtifactError(f"{source} was removed from the feature cache while extract ran; run extract again")
    if not _reflink(source, target):
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)
    target.chmod(0o444)


def _reflink(source: Path, target: Path) -> bool:
    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
