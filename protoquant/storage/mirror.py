"""Local copies of folders in S3, shared by all runs on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from protoquant.core.artifacts import digest_json
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.storage.client import Client, connect
from protoquant.storage.failures import translated
from protoquant.storage.fetch import LARGE, Fetcher, entry_of
from protoquant.storage.index import Index, IndexEntry
from protoquant.storage.listing import RemoteObject, list_objects
from protoquant.storage.location import Location


def mirror(location: Location, cache: Path, *, workers: int, on_event: OnEvent) -> Path:
    """Bring the local copy of a folder in S3 up to date.

    New and changed objects (by ETag and size) are fetched, files of removed objects are removed, and damaged files are
    fetched again. Files that a killed call has fetched are kept. Several processes may call this at once.

    Args:
        location: The folder in S3.
        cache: Holds all local copies.
        workers: Threads of the machine.
        on_event: Receives progress and a message about damaged files.

    Returns:
        The local folder; the same for the same endpoint, bucket and prefix.

    Raises:
        UsageError: There is no such bucket, or nothing in the folder.
        StorageError: S3 refused or does not answer, a key is not a path, or an object keeps changing.
    """
    return Mirror.open(connect(workers), location, cache).refresh(on_event)


def local_copy(location: Location, cache: Path, *, workers: int, on_event: OnEvent) -> Path:
    """The local copy of a folder in S3 as ``mirror`` left it, without any request if the copy is complete.

    An incomplete copy is brought up to date. Arguments, result and errors are those of ``mirror``.
    """
    found = Mirror.open(connect(workers), location, cache)
    return found.files if found.whole() else found.refresh(on_event)


@dataclass(frozen=True)
class Mirror:
    """The local copy of one folder.

    Attributes:
        client: An open client.
        location: The folder in S3.
        folder: Holds the copy (``files/``), its index, unfinished files (``partial/``) and the lock.
    """

    client: Client
    location: Location
    folder: Path

    @classmethod
    def open(cls, client: Client, location: Location, cache: Path) -> Mirror:
        """Locate the copy of a folder; nothing is read or written."""
        names = [client.endpoint, location.bucket, location.prefix]
        return cls(client, location, cache / f"{location.bucket}-{digest_json(names)[:16]}")

    @property
    def files(self) -> Path:
        """The local folder."""
        return self.folder / "files"

    def whole(self) -> bool:
        """Whether the last refresh was finished and every file is as it left it, by size and time."""
        index = Index(self.folder)
        if not index.complete:
            return False
        known = index.load()
        return bool(known) and all(_untouched(self.files / name, entry) for name, entry in known.items())

    def refresh(self, on_event: OnEvent) -> Path:
        """Bring the copy up to date, as described for ``mirror``."""
        self.files.mkdir(parents=True, exist_ok=True)
        with self._locked(on_event), translated(self.client, self.location.bucket, self.location.uri):
            partial = self.folder / "partial"
            partial.mkdir(exist_ok=True)
            fetcher = Fetcher(self.client, self.location, self.files, partial)
            index = Index(self.folder)
            listed = list_objects(self.client, self.location)
            known = index.load()
            kept = self._kept(listed, known, fetcher, on_event)
            missing = [item for item in listed if item.name not in kept]
            if missing or kept != known or not index.complete:
                index.begin()
                self._clear(listed)
                kept |= self._fetch(missing, fetcher, index, on_event)
                index.finish(kept)
            else:
                self._clear(listed)
            shutil.rmtree(partial)
        return self.files

    def _kept(
        self, listed: Sequence[RemoteObject], known: dict[str, IndexEntry], fetcher: Fetcher, on_event: OnEvent
    ) -> dict[str, IndexEntry]:
        """The files that need not be fetched; those with a new size or time are read and checked by their digest."""
        kept: dict[str, IndexEntry] = {}
        damaged: list[str] = []
        for item in listed:
            path, entry = self.files / item.name, known.get(item.name)
            if path.is_symlink():
                found = None  # a link is removed, wherever it leads
            elif entry is None:
                found = fetcher.adopt(item)
            elif (entry.etag, entry.size) != (item.etag, item.size) or not path.is_file():
                found = None
            elif _untouched(path, entry):
                found = entry
            else:
                now = entry_of(path, entry.etag)
                found = now if replace(now, mtime=entry.mtime) == entry else None
                damaged += [item.name] if found is None else []
            if found is not None:
                kept[item.name] = found
        if damaged:
            some = f"{len(damaged)} local files are damaged, such as {damaged[0]}"
            on_event(MessageEvent(f"{self.location.uri}: {some}; fetching them again", "warning"))
        return kept

    def _fetch(
        self, missing: Sequence[RemoteObject], fetcher: Fetcher, index: Index, on_event: OnEvent
    ) -> dict[str, IndexEntry]:
        """Fetch small objects in parallel, then large ones one after another, with their pieces in parallel."""
        fetched: dict[str, IndexEntry] = {}
        if not missing:
            return fetched
        with _pool(self.client.streams) as pool:
            small = {pool.submit(fetcher.fetch, item): item for item in missing if item.size <= LARGE}
            large = (item for item in missing if item.size > LARGE)
            results: Iterable[tuple[RemoteObject, IndexEntry | None]] = _results(small)
            for item, entry in track(
                _joined(results, ((one, fetcher.fetch(one, pool.map)) for one in large)),
                f"fetch {self.location.uri}",
                len(missing),
                "objects",
                on_event,
            ):
                if entry is not None:
                    fetched[item.name] = entry
                    index.record(item.name, entry)
        return fetched

    def _clear(self, listed: Sequence[RemoteObject]) -> None:
        """Remove files that are not objects, then folders that are left empty or are in the way of a file."""
        wanted = {item.name for item in listed}
        for path in sorted(self.files.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.is_symlink() or path.relative_to(self.files).as_posix() not in wanted:
                path.unlink()

    @contextmanager
    def _locked(self, on_event: OnEvent) -> Iterator[None]:
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_event(MessageEvent(f"another run fetches {self.location.uri}; waiting for it"))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _untouched(path: Path, entry: IndexEntry) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime)


@contextmanager
def _pool(streams: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; after an error, tasks that have not started are cancelled."""
    pool = ThreadPoolExecutor(streams)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _results(small: dict[Future[IndexEntry | None], RemoteObject]) -> Iterator[tuple[RemoteObject, IndexEntry | None]]:
    for future in as_completed(small):
        yield small[future], future.result()


def _joined(
    *parts: Iterable[tuple[RemoteObject, IndexEntry | None]],
) -> Iterator[tuple[RemoteObject, IndexEntry | None]]:
    for part in parts:
        yield from part
