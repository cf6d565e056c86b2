"""Images with the same pixels: in a split, in two splits, or with two labels."""

from collections import defaultdict
from collections.abc import Iterable

from protoquant.doctor.findings import Finding, FindingKind, found_images, splits_of
from protoquant.doctor.photo import Photo


def copies(photos: Iterable[Photo]) -> list[Finding]:
    """One finding for each group of equal pixels, of the gravest kind that holds.

    Args:
        photos: All photos that decode, with the splits that the data gives; the file's format does not matter.
    """
    groups: dict[bytes, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: photo.path):
        groups[photo.pixels].append(photo)
    return [_finding(group) for group in groups.values() if len(group) > 1]


def _finding(group: list[Photo]) -> Finding:
    labels, splits = sorted({photo.class_name for photo in group}), splits_of(group)
    where = f" in {' and '.join(splits)}" if splits else ""
    if len(labels) > 1:
        kind, what = FindingKind.LABEL_CONFLICT, f"labelled {' and '.join(map(repr, labels))}{where}"
    elif len(splits) > 1:
        kind, what = FindingKind.DUPLICATE_ACROSS_SPLITS, f"of {labels[0]!r}{where}"
    else:
        kind, what = FindingKind.DUPLICATE, f"of {labels[0]!r}{where}"
    return Finding(kind, f"{len(group)} files with the same pixels, {what}", found_images(group), number=len(group))
