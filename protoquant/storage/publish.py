"""Uploads a file or a folder for others to read, with a link that works without credentials."""

from __future__ import annotations

import mimetypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from protoquant.core.errors import UsageError
from protoquant.core.events import OnEvent, track
from protoquant.storage.client import Client
from protoquant.storage.failures import translated
from protoquant.storage.location import Location

PAGE = "index.html"
LONGEST_LINK = 7 * 24  # hours; the longest life of a version 4 signature
_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
}


@dataclass(frozen=True)
class Published:
    """The result of an upload.

    Attributes:
        uri: The object to open: the page of a folder, or the file.
        link: HTTP address of that object that needs no credentials.
        expires: Hours for which the link works.
        files: Number of objects written.
        size: Bytes of all objects together.
    """

    uri: str
    link: str
    expires: int
    files: int
    size: int


def publish(client: Client, source: Path, location: Location, *, expires: int, on_event: OnEvent) -> Published:
    """Upload a folder, its page last, so that no reader sees a page without its files; large files go in parts.

    The files go directly below the location; existing objects with other names stay.

    Args:
        client: An open client.
        source: A folder with ``index.html``, or one file.
        location: The target folder in S3.
        expires: Hours for which the link works, 1 to 168.
        on_event: Receives progress.

    Raises:
        UsageError: There is nothing to publish, the link would live too long, or there is no such bucket.
        StorageError: S3 refused or does not answer.
    """
    if not 1 <= expires <= LONGEST_LINK:
        raise UsageError(f"a link lives 1 to {LONGEST_LINK} hours, got {expires}; publish again when it has expired")
    page, names = _names(source)
    folder = source if source.is_dir() else source.parent

    def upload(name: str) -> None:
        extra = {"ContentType": content_type(name)}
        client.api.upload_file(str(folder / name), location.bucket, location.key(name), ExtraArgs=extra)

    with translated(client, location.bucket, location.uri):
        parts = [name for name in names if name != page]
        with ThreadPoolExecutor(client.streams) as pool:
            for _ in track(pool.map(upload, parts), f"publish {location.uri}", len(parts), "files", on_event):
                pass
        upload(page)
        asked = {"Bucket": location.bucket, "Key": location.key(page)}
        link = client.api.generate_presigned_url("get_object", Params=asked, ExpiresIn=expires * 3600)
    size = sum((folder / name).stat().st_size for name in names)
    return Published(f"s3://{location.bucket}/{location.key(page)}", str(link), expires, len(names), size)


def content_type(name: str) -> str:
    """The content type that browsers receive for a file, from its suffix."""
    return _TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _names(source: Path) -> tuple[str, list[str]]:
    """The file that the link opens, and all files, relative to their folder."""
    if source.is_file():
        return source.name, [source.name]
    if not source.is_dir():
        raise UsageError(f"nothing to publish at {source}: there is no such file or folder; correct the path")
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    if PAGE not in names:
        raise UsageError(
            f"{source} holds no {PAGE}; name the folder of a report, such as artifacts/report, or one file"
        )
    return PAGE, names
