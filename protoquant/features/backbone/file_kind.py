"""Says what a file is that was given as a checkpoint and is none: a page, a pointer, or a part of a file."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

from protoquant.core.errors import ArtifactError

_HEAD = 512
_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<head")
_POINTER = b"version https://git-lfs.github.com/spec/"
_ZIP = b"PK\x03\x04"
_LENGTH = 8
"""Bytes that hold the length of a safetensors header."""
_LARGEST_HEADER = 100_000_000


def refuse_other_files(path: Path) -> None:
    """Refuse what often lies at the place of a checkpoint.

    Args:
        path: A file that is there.

    Raises:
        ArtifactError: It is empty, a web page, a pointer of Git LFS, or the beginning of a checkpoint; or it cannot
            be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); give a file that you may read") from error
    if not head:
        raise ArtifactError(f"{path} is empty, so it is no checkpoint of tensors alone; copy or download it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        raise ArtifactError(f"{path} is an HTML page instead of a checkpoint; download the file that the page offers")
    if head.startswith(_POINTER):
        raise ArtifactError(f"{path} is a Git LFS pointer instead of a checkpoint; fetch the file: git lfs pull")
    if wanted := _whole(path, head, size):
        raise ArtifactError(f"{path} is cut off: it has {size:,} bytes{wanted}; copy or download it again")


def _whole(path: Path, head: bytes, size: int) -> str:
    """How much longer a file should be, in words; empty where nothing is missing."""
    if head.startswith(_ZIP):
        return "" if _has_end(path) else " and no end"
    length = int.from_bytes(head[:_LENGTH], "little")
    if head[_LENGTH : _LENGTH + 1] != b"{" or length > _LARGEST_HEADER:
        return ""
    whole = _LENGTH + length
    if size >= whole:
        whole += _tensor_bytes(path, length)
    return f" of {whole:,}" if size < whole else ""


def _has_end(path: Path) -> bool:
    """Whether a zip file has its list of contents, which stands at the end; a damaged one counts."""
    try:
        return is_zipfile(path)
    except BadZipFile:
        return True


def _tensor_bytes(path: Path, length: int) -> int:
    """Bytes of the tensors, as the header of a safetensors file states them; 0 for a header that cannot be read."""
    with path.open("rb") as file:
        file.seek(_LENGTH)
        try:
            header = json.loads(file.read(length))
            return max(
                (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return 0
