"""Reads and fetches single objects of a folder in S3, and puts them where there are none yet."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import ClientError, FlexibleChecksumError

from protoquant.storage.client import Client, connect
from protoquant.storage.failures import code_of, is_unsupported, status_of, translated
from protoquant.storage.fetch import LARGE, Fetcher, UnfitObjectError
from protoquant.storage.listing import RemoteObject
from protoquant.storage.location import Location
from protoquant.storage.parts import put_in_parts

_DIGEST = "sha256"  # key in the object's metadata
_ABSENT = {"NoSuchKey", "404"}
_TAKEN = {409, 412}  # HTTP status: another writer is writing the object, or has written it


@dataclass(frozen=True)
class ObjectFolder:
    """A folder in S3.

    Attributes:
        client: An open client.
        location: The folder.
        inside: Path of a folder in it, with a slash at the end; errors name only the location.
    """

    client: Client
    location: Location
    inside: str = ""

    @classmethod
    def open(cls, location: Location, workers: int) -> Self:
        """Open the folder with a client of its own, without any request yet.

        Raises:
            UsageError: Boto3's settings are impossible. StorageError: Boto3 refuses them.
        """
        return cls(connect(workers), location)

    def below(self, name: str) -> Self:
        """A folder in this one."""
        return dataclasses.replace(self, inside=f"{self.inside}{name}/")

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None if it does not exist.

        Raises:
            UsageError: There is no such bucket. StorageError: S3 refused or does not answer.
        """
        with translated(self.client, self.location.bucket, self.location.uri):
            try:
                answer = self.client.api.get_object(**self._named(name))
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
            data: bytes = answer["Body"].read()
            return data

    def fetch(self, name: str, folder: Path) -> str:
        """Fetch an object to a file of its name; a large one in parallel pieces.

        Args:
            name: Name of the object.
            folder: An existing folder on disk.

        Returns:
            SHA-256 of the file; empty if there is no such object, or its bytes do not match its ETag.

        Raises:
            UsageError: There is no such bucket. StorageError: S3 refused or does not answer.
        """
        with translated(self.client, self.location.bucket, self.location.uri):
            head = self._head(name)
            if head is None:
                return ""
            item = RemoteObject(name, head["ETag"].strip('"'), int(head["ContentLength"]))
            fetcher = Fetcher(self.client, self._place, files=folder, partial=folder)
            with ThreadPoolExecutor(self.client.streams) as pool:
                try:
                    entry = fetcher.fetch(item, pool.map)
                except (UnfitObjectError, FlexibleChecksumError):
                    return ""
        return entry.sha256 if entry else ""

    def put(self, name: str, content: Path | bytes, digest: str, *, replace: bool = False) -> str:
        """Put an object where none exists; on a server without such a condition, an existing one is replaced.

        Args:
            name: Name of the object.
            content: Content of the object; a large file is sent in parts.
            digest: SHA-256 of the content, kept with the object.
            replace: Whether to replace an existing object.

        Returns:
            SHA-256 of the object that exists afterwards.

        Raises:
            UsageError: There is no such bucket. StorageError: S3 refused or does not answer.
        """
        with translated(self.client, self.location.bucket, self.location.uri):
            if not replace and not self._put_if_absent(name, content, digest):
                head = self._head(name)
                there = head["Metadata"].get(_DIGEST) if head else None
                if there:
                    return str(there)
                replace = True
            if replace:
                self._put(name, content, digest)
        return digest

    def _put_if_absent(self, name: str, content: Path | bytes, digest: str) -> bool:
        try:
            self._put(name, content, digest, IfNoneMatch="*")
        except ClientError as error:
            if status_of(error) in _TAKEN:
                return False
            if not is_unsupported(error):
                raise
            self._put(name, content, digest)
        return True

    def _put(self, name: str, content: Path | bytes, digest: str, **condition: str) -> None:
        target, metadata = self._named(name), {_DIGEST: digest}
        if isinstance(content, Path) and content.stat().st_size > LARGE:
            put_in_parts(self.client, content, target, metadata, condition)
            return
        body = content if isinstance(content, bytes) else content.read_bytes()
        self.client.api.put_object(**target, Body=body, Metadata=metadata, **condition)

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            head: dict[str, Any] = self.client.api.head_object(**self._named(name))
        except ClientError as error:
            if code_of(error) in _ABSENT:
                return None
            raise
        return head

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self.location.bucket, "Key": self._place.key(name)}

    @property
    def _place(self) -> Location:
        return Location(self.location.bucket, self.location.key(self.inside).rstrip("/"))
