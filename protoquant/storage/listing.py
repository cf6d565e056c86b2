"""Lists the objects of a folder in S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from protoquant.core.errors import StorageError, UsageError, suggest
from protoquant.storage.client import Client
from protoquant.storage.failures import no_store, translated
from protoquant.storage.location import Location

_LONGEST_NAME = 255  # bytes of a file name


@dataclass(frozen=True)
class RemoteObject:
    """An object as listed by S3.

    Attributes:
        name: Its key relative to the folder; safe as a relative path.
        etag: ETag without quotes.
        size: Size in bytes.
    """

    name: str
    etag: str
    size: int


def list_objects(client: Client, location: Location) -> list[RemoteObject]:
    """List a folder and everything below it, page by page.

    Keys that end in ``/`` stand for folders and are skipped.

    Args:
        client: An open client.
        location: The folder.

    Raises:
        UsageError: There is no such bucket, or nothing in the folder.
        StorageError: A key cannot be a path below a local folder, or S3 refused or does not answer.
    """
    with translated(client, location.bucket, location.uri):
        found = {item.name: item for item in _pages(client, location)}
        if not found:
            raise UsageError(_nothing(client, location))
    for name in found:
        _check(name, found, location)
    return list(found.values())


def check_reachable(client: Client, location: Location) -> None:
    """Request one object of a folder, to check that the folder exists and may be listed.

    Raises:
        UsageError: There is no such bucket, or nothing in the folder.
        StorageError: S3 refused or does not answer.
    """
    with translated(client, location.bucket, location.uri):
        page = client.api.list_objects_v2(Bucket=location.bucket, Prefix=location.folder, MaxKeys=1)
        if not _contents(client, page):
            raise UsageError(_nothing(client, location))


def _pages(client: Client, location: Location) -> Iterator[RemoteObject]:
    pages = client.api.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.folder)
    for item in chain.from_iterable(_contents(client, page) for page in pages):
        if not item["Key"].endswith("/"):
            name = item["Key"].removeprefix(location.folder)
            yield RemoteObject(name, item["ETag"].strip('"'), int(item["Size"]))


def _contents(client: Client, page: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The objects of a page; an answer that does not say whether it is the last page is not from S3."""
    if "IsTruncated" not in page:
        raise no_store(client)
    found: Sequence[Mapping[str, Any]] = page.get("Contents", ())
    return found


def _check(name: str, found: dict[str, RemoteObject], location: Location) -> None:
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise StorageError(
            f"{location.uri}: the key {location.key(name)!r} is no path below a folder; rename the object"
        )
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise StorageError(f"{location.uri}: the key {location.key(name)!r} is too long for a file; rename the object")
    for end in range(1, len(parts)):
        if (above := "/".join(parts[:end])) in found:
            raise StorageError(
                f"{location.uri}: {above!r} is an object and also the folder of {name!r}; rename one of them"
            )


def _nothing(client: Client, location: Location) -> str:
    """Explain that a folder does not exist, and name the nearest one beside it."""
    above, _, last = location.prefix.rpartition("/")
    within = f"{above}/" if above else ""
    page = client.api.list_objects_v2(Bucket=location.bucket, Prefix=within, Delimiter="/")
    names = [one["Prefix"].removeprefix(within).rstrip("/") for one in page.get("CommonPrefixes", ())]
    if any(one["Key"] == location.prefix for one in page.get("Contents", ())):
        return f"{location.uri} is one object, not a folder; name the folder that holds it"
    return f"no objects below {location.uri}{suggest(last, names)}; correct the path, or upload them"
