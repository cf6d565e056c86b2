"""Fetches one object to a file: complete, checked and of one version, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import botocore.exceptions as boto
from botocore.exceptions import ClientError

from protoquant.core.artifacts import digest_bytes, digest_file
from protoquant.core.errors import StorageError
from protoquant.storage.checksum import fits, is_md5
from protoquant.storage.client import Client
from protoquant.storage.failures import code_of, status_of
from protoquant.storage.index import IndexEntry
from protoquant.storage.listing import RemoteObject
from protoquant.storage.location import Location

LARGE = 16 * 2**20  # bytes; larger objects are read in pieces of this size
_ATTEMPTS = 3
_BROKEN = (
    boto.ResponseStreamingError,
    boto.ReadTimeoutError,
    boto.ConnectionClosedError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
)
_OPAQUE = ("aws:kms", "aws:kms:dsse")

Spread = Callable[[Callable[[int], None], Iterable[int]], Iterable[None]]
"""Calls a function for each piece, one after the other as ``map`` or in many threads."""


class _ChangedError(Exception):
    """The object is not the one that was listed."""


class _GoneError(Exception):
    """The object no longer exists."""


class UnfitObjectError(StorageError):
    """The bytes of an object do not match its ETag, or change each time."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches the objects of one folder.

    Attributes:
        client: An open client.
        location: The folder in S3.
        files: The local folder.
        partial: The folder of unfinished files; a later call reuses the pieces of large objects there.
    """

    client: Client
    location: Location
    files: Path
    partial: Path

    def fetch(self, item: RemoteObject, spread: Spread = map) -> IndexEntry | None:
        """Fetch an object; one that changes while it is read is read again, at most twice.

        Args:
            item: The object as listed.
            spread: How the pieces of a large object are fetched.

        Returns:
            The index entry of the file; None if the object has been removed since.

        Raises:
            UnfitObjectError: The object keeps changing, or arrives with bytes that do not match its ETag.
            ClientError: S3 refused. BotoCoreError: S3 does not answer.
        """
        said = ""
        for _ in range(_ATTEMPTS):
            aside = self.partial / hashlib.sha256(f"{item.name}\0{item.etag}".encode()).hexdigest()[:32]
            try:
                whole = self._in_pieces(item, aside, spread) if item.size > LARGE else self._at_once(item, aside)
                if whole:
                    return self._keep(item, aside, whole)
                said = "does not arrive as its ETag says; upload it again"
                item = self._now(item)
            except _ChangedError:
                said = "changed each time while it was read; run again when nobody writes there"
                try:
                    item = self._now(item)
                except _GoneError:
                    return None
            except _GoneError:
                return None
        raise UnfitObjectError(f"{self.location.uri}: the object {item.name!r} {said}")

    def adopt(self, item: RemoteObject) -> IndexEntry | None:
        """Recognise a file that already exists locally by its MD5; None if that is not possible."""
        path = self.files / item.name
        if not is_md5(item.etag) or not path.is_file() or path.stat().st_size != item.size:
            return None
        with path.open("rb") as file:
            return entry_of(path, item.etag) if fits(file, item.size, item.etag, lambda _: 0) else None

    def _at_once(self, item: RemoteObject, aside: Path) -> str:
        """Fetch the whole object; returns the SHA-256 of its bytes, empty if they do not match the ETag."""
        data, opaque = self._get(item)
        if len(data) != item.size or not self._fits(io.BytesIO(data), item, opaque=opaque):
            return ""
        aside.write_bytes(data)
        return digest_bytes(data)

    def _in_pieces(self, item: RemoteObject, aside: Path, spread: Spread) -> str:
        """Fetch the missing pieces and note each one when it is written; returns the same as ``_at_once``."""
        noted = aside.with_suffix(".pieces")
        known = noted.read_text().splitlines() if noted.exists() and aside.exists() else []
        missing = sorted(set(range(-(-item.size // LARGE))) - {int(line) for line in known if line.isdecimal()})
        lock = threading.Lock()
        opaque: list[bool] = []
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT, 0o644)
        try:

            def piece(number: int) -> None:
                start = number * LARGE
                data, unknown = self._get(item, start, min(item.size, start + LARGE))
                os.pwrite(descriptor, data, start)
                opaque.append(unknown)
                with lock, noted.open("a") as file:
                    file.write(f"{number}\n")

            for _ in spread(piece, missing):
                pass
        finally:
            os.close(descriptor)
        with aside.open("rb") as file:
            whole = aside.stat().st_size == item.size and self._fits(file, item, opaque=any(opaque))
        noted.unlink(missing_ok=True)
        if whole:
            return digest_file(aside)
        aside.unlink()
        return ""

    def _get(self, item: RemoteObject, start: int = 0, end: int | None = None) -> tuple[bytes, bool]:
        """Read an object or a range of it, if it is still the one that was listed.

        Returns:
            The bytes, and whether the ETag says nothing about them.
        """
        asked: dict[str, Any] = {"IfMatch": f'"{item.etag}"'}
        if end is not None:
            asked["Range"] = f"bytes={start}-{end - 1}"
        data, answer = self._read(item, asked)
        if end is not None and len(data) != end - start:
            raise StorageError(
                f"S3 at {self.client.endpoint} serves no ranges of {item.name!r}; use a server that does"
            )
        secret = answer.get("ServerSideEncryption") in _OPAQUE or "SSECustomerAlgorithm" in answer
        return data, secret or self.location.bucket.endswith("--x-s3")

    def _read(self, item: RemoteObject, asked: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """Request and read an object; a body that breaks off is requested again (boto3 retries all before it)."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(*_BROKEN):
                return self._answer(item, asked)
        return self._answer(item, asked)

    def _answer(self, item: RemoteObject, asked: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        try:
            answer = self.client.api.get_object(Bucket=self.location.bucket, Key=self._key(item), **asked)
        except ClientError as error:
            _raise_if_other(error)
            raise
        if answer["ETag"].strip('"') != item.etag:
            raise _ChangedError
        return answer["Body"].read(), answer

    def _fits(self, file: BinaryIO, item: RemoteObject, *, opaque: bool) -> bool:
        def part_size(number: int) -> int:
            head = self.client.api.head_object(Bucket=self.location.bucket, Key=self._key(item), PartNumber=number)
            return int(head["ContentLength"])

        return opaque or fits(file, item.size, item.etag, part_size)

    def _keep(self, item: RemoteObject, aside: Path, digest: str) -> IndexEntry:
        target = self.files / item.name
        written = aside.stat().st_mtime_ns
        try:
            aside.rename(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(target)
        return IndexEntry(item.etag, item.size, digest, written)

    def _now(self, item: RemoteObject) -> RemoteObject:
        try:
            head = self.client.api.head_object(Bucket=self.location.bucket, Key=self._key(item))
        except ClientError as error:
            _raise_if_other(error)
            raise
        return RemoteObject(item.name, head["ETag"].strip('"'), int(head["ContentLength"]))

    def _key(self, item: RemoteObject) -> str:
        return self.location.key(item.name)


def entry_of(path: Path, etag: str) -> IndexEntry:
    """Describe a file that holds an object."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        return IndexEntry(etag, status.st_size, hashlib.file_digest(file, "sha256").hexdigest(), status.st_mtime_ns)


def _raise_if_other(error: ClientError) -> None:
    if status_of(error) == 412:
        raise _ChangedError from error
    if code_of(error) in {"NoSuchKey", "404"}:
        raise _GoneError from error
