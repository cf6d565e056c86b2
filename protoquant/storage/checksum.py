"""Checks bytes against the ETag of their object.

The ETag of an object sent in one piece is its MD5; for one sent in N parts it is the MD5 of the parts' MD5s with ``-N``
appended. Objects encrypted with a KMS or client key, and those of a directory bucket, have an ETag that says nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

_PLAIN = re.compile(r"[0-9a-f]{32}")
_PARTS = re.compile(r"[0-9a-f]{32}-(\d{1,5})")
_CHUNK = 2**20


def is_md5(etag: str) -> bool:
    """Whether an ETag has the form of an MD5, which can be checked without a request to S3."""
    return _PLAIN.fullmatch(etag) is not None


def md5_of(file: BinaryIO, sizes: Sequence[int], *, parts: bool) -> str:
    """The ETag that a file has when it is sent in parts of these sizes, or in one piece.

    Args:
        file: Read from its beginning.
        sizes: Bytes of each part.
        parts: Whether it was sent in parts, even if it was only one.
    """
    file.seek(0)
    digests = [_md5(file, size) for size in sizes]
    if not parts:
        return digests[0].hex()
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(sizes)}"


def fits(file: BinaryIO, size: int, etag: str, part_size: Callable[[int], int]) -> bool:
    """Check a file against an ETag.

    Args:
        file: A file of ``size`` bytes.
        size: Size in bytes.
        etag: The ETag without quotes.
        part_size: Returns the bytes of a part, given its number from 1, as S3 reports them.

    Returns:
        Whether the file fits; also True if the ETag cannot tell.
    """
    if is_md5(etag):
        return md5_of(file, [size], parts=False) == etag
    match = _PARTS.fullmatch(etag)
    tried = False
    for sizes in _cuts(int(match[1]), size, part_size) if match else ():
        tried = True
        if md5_of(file, sizes, parts=True) == etag:
            return True
    return not tried


def _cuts(count: int, size: int, part_size: Callable[[int], int]) -> Iterator[Sequence[int]]:
    """The part sizes with which an object may have been sent: even ones, as nearly always, or those that S3 reports."""
    if count == 1:
        yield [size]
        return
    first = part_size(1)
    if not 0 < first < size:
        return  # a server that does not report parts answers with the size of the whole
    if first * (count - 1) < size <= first * count:
        yield [first] * (count - 1) + [size - first * (count - 1)]
    sizes = [first, *map(part_size, range(2, count + 1))]
    if sum(sizes) == size:
        yield sizes


def _md5(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.digest()
