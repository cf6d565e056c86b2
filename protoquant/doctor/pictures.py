"""Thumbnails for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from protoquant.core.events import OnEvent, track
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.quarantine import ImageError
from protoquant.doctor.findings import Finding, FindingKind, FoundImage
from protoquant.pages.pictures import webp_uri

FINDINGS = 24
"""Findings of a kind that the page shows; doctor.json has all."""
IMAGES = 12
"""Images of a finding that the page shows."""
_SIDE, _QUALITY = 176, 78


@dataclass(frozen=True)
class ShownFinding:
    """A finding on the page, and those of its images that are shown."""

    finding: Finding
    images: tuple[FoundImage, ...]

    @property
    def more(self) -> int:
        """Number of images that are not shown."""
        return len(self.finding.images) - len(self.images)


def shown(by_kind: Mapping[FindingKind, Sequence[Finding]]) -> dict[FindingKind, list[ShownFinding]]:
    """Choose what the page shows: the first findings of each kind, and of each finding some images of every split."""
    return {
        kind: [ShownFinding(one, _some(one.images)) for one in findings[:FINDINGS]]
        for kind, findings in by_kind.items()
    }


def thumbnails(images: Iterable[FoundImage], folder: Path, workers: int, on_event: OnEvent) -> dict[str, str]:
    """Encode pictures by path as ``data:`` URIs; an image that cannot be opened has none.

    Args:
        images: The images; each path is drawn once.
        folder: What their paths are relative to.
        workers: Threads that decode.
        on_event: Receives progress.
    """
    paths = sorted({image.path for image in images})
    with ThreadPoolExecutor(workers) as pool:
        uris = pool.map(lambda path: _thumbnail(folder, path), paths)
        drawn = zip(paths, track(uris, "draw", len(paths), "pictures", on_event), strict=True)
        return {path: uri for path, uri in drawn if uri is not None}


def _some(images: Sequence[FoundImage]) -> tuple[FoundImage, ...]:
    """The first images, of every split some, in their order."""
    by_split: dict[str | None, list[int]] = {}
    for place, image in enumerate(images):
        by_split.setdefault(image.split, []).append(place)
    share = max(1, IMAGES // max(1, len(by_split)))
    first = {place for places in by_split.values() for place in places[:share]}
    others = [place for place in range(len(images)) if place not in first]
    chosen = sorted([*sorted(first), *others[: max(0, IMAGES - len(first))]][:IMAGES])
    return tuple(images[place] for place in chosen)


def _thumbnail(folder: Path, path: str) -> str | None:
    try:
        image: Image.Image = decode_image(read_bytes(folder / path, path), name=path, at_least=_SIDE)
    except ImageError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    return webp_uri(image, _QUALITY)
