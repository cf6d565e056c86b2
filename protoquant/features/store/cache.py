"""A local cache of finished shards outside any stage's output, named by content and verified by digest."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from protoquant.core.artifacts import digest_file, read_json, save_tensors, write_json
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.files import sync
from protoquant.features.store.shared_cache import ENTRY, SCHEMA, SHARD, SharedCache

if TYPE_CHECKING:
    from torch import Tensor

_PARTIAL = ".partial"
_LOCKS = "locks"
_FICLONE = 0x40049409  # linux/fs.h: make a file share the blocks of another


@dataclass(frozen=True)
class CachedShard:
    """A whole shard in the cache.

    Attributes:
        path: Its file.
        digest: SHA-256 of the file; empty where another process told of it.
        computed: Whether this call computed it.
        fetched: Whether this call fetched it from the shared cache.
        unshared: Why the shared cache does not have it; empty if it does, or if there is no shared cache.
    """

    path: Path
    digest: str
    computed: bool
    fetched: bool = False
    unshared: str = ""


@dataclass(frozen=True)
class CacheEntry:
    """The cache entry of one key.

    Attributes:
        key: SHA-256 of everything that decides the tokens.
        backbone: Name of the model.
        images: Number of images in the shard.
        size: Size in bytes.
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
        self,
        key: str,
        backbone: str,
        compute: Callable[[], Mapping[str, Tensor]],
        on_event: OnEvent,
        shared: SharedCache | None = None,
    ) -> CachedShard:
        """Find a shard, or compute and keep it; one process computes a key while others wait for it.

        A damaged shard is reported, dropped and computed again. A shard that is missing here is looked up in the shared
        cache, and a shard that is missing there is uploaded.

        Args:
            key: Key of the content.
            backbone: Name of the model, for the listing.
            compute: Computes the shard if no cache has it.
            on_event: Receives a message about a damaged shard.
            shared: The cache that machines share; None for none.
        """
        with self._lock(key):
            found = self._find(key, on_event, shared)
            if found is None:
                from protoquant.features.store.dtypes import TOKENS

                stored = compute()
                folder = self.root / key
                entry = {"schema": SCHEMA, "backbone": backbone, "images": len(stored[TOKENS])}
                found = CachedShard(folder / SHARD, self._keep(folder, stored, entry), computed=True)
            if shared is None or found.fetched:
                return found
            return replace(found, unshared=shared.publish(key, self.root / key))

    def find(
        self, key: str, on_event: OnEvent, shared: SharedCache | None, *, patient: bool = True
    ) -> CachedShard | None:
        """Find a shard here or in the shared cache without computing it; None if neither has it.

        Args:
            key: Key of the content.
            on_event: Receives a message about a damaged shard.
            shared: The cache that machines share; None for none.
            patient: Whether to leave a shared cache that has just failed alone for a while.
        """
        with self._lock(key):
            return self._find(key, on_event, shared, patient=patient)

    def entries(self) -> list[CacheEntry]:
        """All complete entries, least recently used first."""
        now = time.time()
        found = []
        for folder in self._folders():
            with suppress(ArtifactError, KeyError, TypeError, FileNotFoundError):
                entry = read_json(folder / ENTRY)
                size = (folder / SHARD).stat().st_size
                age = max(0.0, now - folder.stat().st_mtime)
                found.append(CacheEntry(folder.name, entry["backbone"], entry["images"], size, age))
        return sorted(found, key=lambda entry: (-entry.age, entry.key))

    def prune(self, *, max_age: float | None = None, max_bytes: int | None = None) -> list[CacheEntry]:
        """Remove entries that have not been used for long, then the least recently used ones until the rest fits.

        Entries that a process is writing or reading stay. Stores that already link to an entry keep their bytes.

        Args:
            max_age: Seconds since the last use; None for no limit.
            max_bytes: Total size of the entries that may stay; None for no limit.

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

    def _find(
        self, key: str, on_event: OnEvent, shared: SharedCache | None, *, patient: bool = True
    ) -> CachedShard | None:
        folder = self.root / key
        if folder.exists() and (digest := self._whole(folder, key, on_event)):
            os.utime(folder)
            return CachedShard(folder / SHARD, digest, computed=False)
        if shared is None:
            return None
        partial = self._begin(folder)
        if not shared.fetch(key, partial, patient=patient):
            shutil.rmtree(partial)
            return None
        digest = read_json(partial / ENTRY)["digest"]
        self._settle(partial, folder)
        return CachedShard(folder / SHARD, digest, computed=False, fetched=True)

    def _lock(self, key: str, timeout: float = -1) -> FileLock:
        locks = self.root / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock", timeout=timeout)

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (path for path in self.root.iterdir() if path.is_dir() and (path / ENTRY).is_file())

    def _whole(self, folder: Path, key: str, on_event: OnEvent) -> str:
        """The digest of a complete entry; an empty string where it is damaged, which is then dropped."""
        with suppress(ArtifactError, FileNotFoundError, KeyError, TypeError):
            entry = read_json(folder / ENTRY)
            if entry["schema"] == SCHEMA and entry["digest"] == (digest := digest_file(folder / SHARD)):
                return digest
        on_event(MessageEvent(f"feature cache: shard {key[:12]} is damaged; dropped, computing it again", "warning"))
        shutil.rmtree(folder)
        return ""

    def _keep(self, folder: Path, stored: Mapping[str, Tensor], entry: dict[str, object]) -> str:
        """Write an entry, and return the digest of its shard."""
        partial = self._begin(folder)
        save_tensors(partial / SHARD, stored)
        digest = digest_file(partial / SHARD)
        write_json(partial / ENTRY, entry | {"digest": digest})
        self._settle(partial, folder)
        return digest

    def _begin(self, folder: Path) -> Path:
        """Make the temporary folder of an entry, so that a killed process leaves no partial entry under the key."""
        partial = folder.with_name(folder.name + _PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        return partial

    def _settle(self, partial: Path, folder: Path) -> None:
        """Rename a complete entry to its key."""
        for path in (partial / SHARD, partial / ENTRY):
            path.chmod(0o444)
            sync(path)
        sync(partial)
        partial.rename(folder)
        sync(self.root)

    def _remove(self, key: str, *, only_partial: bool = False) -> bool:
        try:
            with self._lock(key, timeout=0):
                shutil.rmtree(self.root / f"{key}{_PARTIAL}", ignore_errors=True)
                if not only_partial:
                    with suppress(FileNotFoundError):  # another process has removed it meanwhile
                        shutil.rmtree(self.root / key)
        except Timeout:
            return False
        return True


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, without a second copy if the file system allows it.

    A reflink shares the blocks, a hard link the file; across file systems the bytes are copied.

    Args:
        source: An existing file.
        target: A path that does not exist.

    Returns:
        Whether both names stand for the same bytes on the disk; False for a copy.

    Raises:
        ArtifactError: The source no longer exists.
    """
    if not source.is_file():
        raise ArtifactError(f"{source} was removed from the feature cache while extract ran; run extract again")
    shared = True
    if not _reflink(source, target):
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)
            shared = False
    target.chmod(0o444)
    return shared


def _reflink(source: Path, target: Path) -> bool:
    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        return False
    return True
