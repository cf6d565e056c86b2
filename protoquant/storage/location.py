"""Locations of objects, written ``s3://bucket/prefix``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from protoquant.core.errors import UsageError

_SCHEME = re.compile(r"s3[an]?:", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OUTSIDE = ("", ".", "..")


@dataclass(frozen=True)
class Location:
    """A bucket and a folder in it.

    Attributes:
        bucket: Name of the bucket.
        prefix: The folder without slashes around it; empty for the whole bucket.
    """

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str, name: str = "an S3 location") -> Self:
        """Read ``s3://bucket/prefix``; trailing slashes change nothing.

        Args:
            uri: The text that the user wrote.
            name: Name of the setting in errors, such as ``prepare.root``.

        Raises:
            UsageError: The text does not have that form, or S3 does not allow such a bucket name.
        """
        if not uri.startswith("s3://"):
            raise UsageError(f"{name} must be s3://bucket/prefix, got {uri!r}; correct it")
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        check_bucket(bucket, f"{name} {uri!r}")
        prefix = prefix.rstrip("/")
        if prefix and any(part in _OUTSIDE for part in prefix.split("/")):
            raise UsageError(f"{name} must have no empty, . or .. part in its path, got {uri!r}; correct it")
        return cls(bucket, prefix)

    @property
    def uri(self) -> str:
        """The location as a URI."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    @property
    def folder(self) -> str:
        """The prefix of all keys in the folder; a name beside it (``birdsong`` beside ``birds``) does not have it."""
        return f"{self.prefix}/" if self.prefix else ""

    def key(self, relative: str) -> str:
        """The key of a file, named relative to the folder."""
        return self.folder + relative


def is_uri(text: str) -> bool:
    """Whether a text is meant as a location in S3, correctly written or not."""
    return bool(_SCHEME.match(text))


def check_bucket(bucket: str, where: str) -> None:
    """Refuse a bucket name that S3 does not allow.

    Args:
        bucket: The name.
        where: Beginning of the error.

    Raises:
        UsageError: The name is not allowed.
    """
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            f"{where}: a bucket name has 3 to 63 small letters, digits, dots and hyphens, got {bucket!r}; correct it"
        )
