"""Reads a data set as prepare does, keeping a small photo of each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from protoquant.core.artifacts import digest_bytes
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.data.checks import Checked, ImageEntry, OpenedImage, open_images, set_apart
from protoquant.data.exclusions import Exclusions
from protoquant.data.images import read_bytes
from protoquant.data.names import spelt_alike
from protoquant.data.prepare import assign_splits
from protoquant.data.quarantine import ImageError, Rejected
from protoquant.data.readers.registry import reader
from protoquant.data.splits import SPLITS
from protoquant.data.words import of_no_images
from protoquant.doctor.findings import FoundImage
from protoquant.doctor.photo import Photo, describe

if TYPE_CHECKING:
    from protoquant.data.config import PrepareConfig
    from protoquant.data.readers.listing import Listing

MOST = 50_000
"""Images that are looked at; of more, a sample."""


@dataclass(frozen=True)
class Survey:
    """A data set, as the inspections see it.

    Attributes:
        folder: What the paths are relative to.
        kept: The photos that prepare would use, with their splits, sorted by path.
        decoded: All photos that decode and are not excluded by hand, those with the pixels of another too, with the
            splits that the data gives.
        left_out: The images that prepare would leave out, each with its reason.
        counts: Images of each class in each split; of a sample, those that the reader lists.
        given: The splits that the data has; the others are cut.
        listed: Images that the reader lists; more than are looked at if it is a sample.
        looked: Images that were opened.
    """

    folder: Path
    kept: tuple[Photo, ...]
    decoded: tuple[Photo, ...]
    left_out: tuple[tuple[FoundImage, Rejected], ...]
    counts: Mapping[str, Mapping[str, int]]
    given: tuple[str, ...]
    listed: int
    looked: int

    @property
    def sampled(self) -> bool:
        """Whether only a sample was looked at."""
        return self.looked < self.listed

    @property
    def splits_known(self) -> bool:
        """Whether ``counts`` tells which split each image is in."""
        return not self.sampled or set(SPLITS) <= set(self.given)

    def of(self, split: str) -> tuple[Photo, ...]:
        """The kept photos of a split."""
        return tuple(photo for photo in self.kept if photo.split == split)


def survey(
    config: PrepareConfig,
    *,
    root: Path,
    drawn: Path,
    seed: int,
    workers: int,
    on_event: OnEvent,
    exclude: Path | None = None,
    most: int = MOST,
) -> Survey:
    """List and open the images with prepare's own reader, checks and splits.

    Args:
        config: The ``prepare`` section.
        root: ``prepare.root`` as a path.
        drawn: A folder for the images of a reader that draws them.
        seed: The seed of params.yaml, for splits that are cut.
        workers: Threads that decode; the result does not depend on them.
        on_event: Receives progress.
        exclude: ``prepare.exclude`` as a path; of its images nothing is said but how many there are.
        most: Images that are looked at; of more, those whose paths have the smallest digests, so that the same folder
            gives the same sample.

    Raises:
        DataError: The root is missing or wrong, or no image of it can be used.
    """
    listing = reader(config.reader)(root, into=drawn, config=config, workers=workers, on_event=on_event)
    listing = spelt_alike(listing, on_event)
    if listing.frame.empty:
        raise DataError(of_no_images(listing.rejected, root))
    frame = _sample(listing.frame, most)
    if len(frame) < len(listing.frame):
        on_event(MessageEvent(f"a sample: {len(frame):,} of {len(listing.frame):,} images are looked at", "warning"))
    rows = zip(frame["path"], frame["class_name"], frame["split"], strict=True)
    entries = [ImageEntry(path, name, None if pd.isna(split) else split) for path, name, split in rows]
    checked, photos, rejected = _open(listing, entries, config.min_side, workers, on_event)
    wanted, excluded = Exclusions.read(exclude).part(checked)
    if excluded:
        on_event(MessageEvent(f"not looked at: {len(excluded):,} excluded by hand (prepare.exclude)"))
    kept, alike = set_apart(wanted, keep_tests=listing.official)
    given = tuple(name for name in SPLITS if name in set(listing.frame["split"].dropna()))
    splits = assign_splits(kept + excluded, set(given), config, seed, on_event)
    photos = {one.entry.image_id: photos[one.entry.image_id] for one in wanted}
    used = [replace(photos[one.entry.image_id], split=splits[one.entry.image_id]) for one in kept]
    apart = [*listing.rejected, *rejected, *alike]
    return Survey(
        folder=listing.image_root,
        kept=tuple(sorted(used, key=lambda photo: photo.path)),
        decoded=tuple(photos[path] for path in sorted(photos)),
        left_out=_left_out(apart, {entry.image_id: entry for entry in entries}, photos, listing.image_root),
        counts=_counts(listing, used, sampled=len(frame) < len(listing.frame)),
        given=given,
        listed=len(listing.frame),
        looked=len(frame),
    )


def _sample(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    if len(frame) <= most:
        return frame
    digests = frame["path"].map(lambda path: digest_bytes(path.encode()))
    return frame.loc[digests.sort_values().index[:most]].sort_index()


def _open(
    listing: Listing, entries: Sequence[ImageEntry], min_side: int, workers: int, on_event: OnEvent
) -> tuple[list[Checked], dict[str, Photo], list[Rejected]]:
    opened = open_images(_look, entries, listing.image_root, min_side, workers, keep_tests=listing.official)
    checked: list[Checked] = []
    photos: dict[str, Photo] = {}
    rejected: list[Rejected] = []
    for one in track(opened, "look", len(entries), "images", on_event):
        if isinstance(one, Rejected):
            rejected.append(one)
        else:
            checked.append(one[0])
            photos[one[1].path] = one[1]
    if not checked:
        raise DataError(of_no_images(rejected, listing.image_root))
    return checked, photos, rejected


def _look(opened: OpenedImage) -> tuple[Checked, Photo]:
    return opened.checked, describe(opened)


def _left_out(
    rejected: Sequence[Rejected], entries: Mapping[str, ImageEntry], photos: Mapping[str, Photo], root: Path
) -> tuple[tuple[FoundImage, Rejected], ...]:
    found = []
    for row in sorted(rejected, key=lambda row: (row.image_id, row.reason)):
        entry, photo = entries.get(row.image_id), photos.get(row.image_id)
        digest = photo.sha256 if photo else _digest(root / row.image_id)
        split, class_name = (entry.split, entry.class_name) if entry else (None, None)
        found.append((FoundImage(row.image_id, digest, split, class_name, row.detail), row))
    return tuple(found)


def _digest(path: Path) -> str | None:
    try:
        return digest_bytes(read_bytes(path))
    except ImageError:
        return None


def _counts(listing: Listing, used: Sequence[Photo], *, sampled: bool) -> dict[str, dict[str, int]]:
    """Images by class and split; what the reader lists of a sample without splits counts as train."""
    if sampled:
        pairs = zip(listing.frame["class_name"], listing.frame["split"].fillna("train"), strict=True)
    else:
        pairs = zip((photo.class_name for photo in used), (photo.split for photo in used), strict=True)
    counted = Counter(pairs)
    return {name: {split: counted[name, split] for split in SPLITS} for name in listing.class_names()}
