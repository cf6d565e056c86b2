"""Frames of one shoot in several splits: by camera and time, or by numbered names with like pictures."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from protoquant.doctor.findings import Finding, FindingKind, found_images, splits_of
from protoquant.doctor.perceptual_hash import likeness
from protoquant.doctor.photo import Photo

SECONDS = 10
"""Most seconds from one frame to the next."""
SAME_MOMENT = 20
"""Photos that share a second and a camera; more say that the clock was not set, or a program wrote the time."""
GAP = 2
"""Most that the numbers of two frames in a row differ: one frame may be missing."""
FRAME_DISTANCE = 16
"""Bits in which the hashes of two frames in a row may differ."""
FRAME_ALIKE = 0.75
"""Least correlation of the edges of two frames in a row."""


def shoots(photos: Sequence[Photo]) -> list[Finding]:
    """Find shoots that lie in more than one split; one that time tells is not told again by names.

    Args:
        photos: The photos that are kept, with their splits.
    """
    timed = [group for group in _by_time(photos) if len(splits_of(group)) > 1]
    told = {photo.path for group in timed for photo in group}
    named = [
        group
        for group in _by_name(photos)
        if len(splits_of(group)) > 1 and not all(photo.path in told for photo in group)
    ]
    return [
        *(_finding(group, f"the same camera, each within {SECONDS} s of the one before") for group in timed),
        *(_finding(group, "numbered in a row and alike") for group in named),
    ]


def _finding(group: list[Photo], evidence: str) -> Finding:
    splits = " and ".join(splits_of(group))
    sentence = f"{len(group)} frames of one shoot in {splits}, such as {group[0].path} ({evidence})"
    return Finding(FindingKind.SHOOT_ACROSS_SPLITS, sentence, found_images(group), number=len(group))


def _by_time(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Photos of one camera, each taken within seconds of the one before."""
    by_camera: dict[str, list[tuple[float, Photo]]] = defaultdict(list)
    for photo in photos:
        if photo.camera is not None and photo.taken is not None:
            by_camera[photo.camera].append((photo.taken, photo))
    for camera in sorted(by_camera):
        moments = Counter(taken for taken, _ in by_camera[camera])
        ordered = sorted(by_camera[camera], key=lambda pair: (pair[0], pair[1].path))
        usable = [photo for taken, photo in ordered if moments[taken] <= SAME_MOMENT]
        yield from _runs(usable, lambda one, other: (other.taken or 0) - (one.taken or 0) <= SECONDS)


def _by_name(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Photos of one class whose names differ in their last number alone, which counts up, and which look alike."""
    by_stem: dict[tuple[str, str, str], list[tuple[int, Photo]]] = defaultdict(list)
    for photo in photos:
        name = PurePosixPath(photo.path)
        if parts := re.fullmatch(r"(.*?)(\d{1,18})(\D*)", name.stem):
            by_stem[photo.class_name, parts[1], parts[3]].append((int(parts[2]), photo))
    for stem in sorted(by_stem):
        ordered = sorted(by_stem[stem], key=lambda pair: (pair[0], pair[1].path))
        numbers = {photo.path: number for number, photo in ordered}

        def follows(one: Photo, other: Photo, numbers: dict[str, int] = numbers) -> bool:
            return numbers[other.path] - numbers[one.path] <= GAP and _alike(one, other)

        yield from _runs([photo for _, photo in ordered], follows)


def _alike(one: Photo, other: Photo) -> bool:
    if one.hash is None or other.hash is None or (one.hash ^ other.hash).bit_count() > FRAME_DISTANCE:
        return False
    return float(likeness(one.thumb[None], other.thumb[None])[0]) >= FRAME_ALIKE


def _runs(photos: Sequence[Photo], follows: Callable[[Photo, Photo], bool]) -> Iterator[list[Photo]]:
    """Cut a sequence where a photo does not follow the one before it; runs of at least two."""
    run: list[Photo] = []
    for photo in photos:
        if run and not follows(run[-1], photo):
            if len(run) > 1:
                yield run
            run = []
        run.append(photo)
    if len(run) > 1:
        yield run
