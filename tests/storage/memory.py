"""An S3 in memory that does what a test says, also what a real server would not."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from protoquant.storage.client import Client


@dataclass
class Memory:
    """The part of boto3's client that a mirror uses.

    Attributes:
        objects: Bytes by key.
        etags: ETags by key, in place of the MD5.
        more: What every answer to GET says besides.
        ranges: Whether a range is served, or always the whole.
        conditions: Whether If-Match is heeded.
        cut: Lengths at which the next answers break off.
        gets: Key and range of each GET.
    """

    objects: dict[str, bytes]
    etags: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    ranges: bool = True
    conditions: bool = True
    cut: list[int] = field(default_factory=list)
    gets: list[tuple[str, str | None]] = field(default_factory=list)

    def client(self) -> Client:
        """A client of it."""
        return Client(self, "http://memory", "here", 2)

    def etag(self, key: str) -> str:
        """Of the object that is there now, without quotes."""
        return self.etags.get(key) or hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803 (boto3)
        """As boto3."""
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject")
        return {"ETag": f'"{self.etag(Key)}"', "ContentLength": len(self.objects[Key])}

    def get_object(self, *, Key: str, IfMatch: str = "", Range: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N803
        """As boto3."""
        self.gets.append((Key, Range))
        head = self.head_object(Key=Key)
        if self.conditions and IfMatch not in ("", head["ETag"]):
            raise ClientError({"Error": {"Code": "412"}, "ResponseMetadata": {"HTTPStatusCode": 412}}, "GetObject")
        data = self.objects[Key]
        if Range and self.ranges:
            first, last = Range.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1]
        if self.cut:
            data = data[: self.cut.pop(0)]
        return {"Body": io.BytesIO(data), "ETag": head["ETag"]} | self.more

    def get_paginator(self, _: str) -> Memory:
        """As boto3."""
        return self

    def paginate(self, *, Prefix: str, **_: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        """One page."""
        found = [
            {"Key": key, "ETag": f'"{self.etag(key)}"', "Size": len(data)}
            for key, data in self.objects.items()
            if key.startswith(Prefix)
        ]
        yield {"Contents": found, "IsTruncated": False}
