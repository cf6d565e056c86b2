"""Images that are almost equal: saved again, resized, a little brighter or cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64, UInt64

from protoquant.doctor.findings import Finding, FindingKind, found_images, splits_of
from protoquant.doctor.perceptual_hash import BITS, crowded, likeness, near_pairs
from protoquant.doctor.photo import Photo

DISTANCE = 8
"""Bits of 64 in which two hashes may differ; unrelated photos differ in about 32."""
ALIKE = 0.87
"""Least correlation of the edges of two thumbnails, since a hash keeps slow waves and no colour."""


def near_copies(photos: Iterable[Photo]) -> list[Finding]:
    """Find groups of almost equal images: linked by pairs with near hashes and like thumbnails.

    Pictures without contrast have no hash and are in no group. Images with the same pixels count once.

    Args:
        photos: The photos that are kept, with their splits.
    """
    hashed = _hashed(photos)
    return [_finding([hashed[place] for place in group]) for group in _groups(len(hashed), _pairs(hashed))]


def crowded_hashes(photos: Iterable[Photo]) -> int:
    """Number of different pictures of which not all neighbours are known; 0 if all pairs were found."""
    return crowded(np.unique(_values(_hashed(photos))), DISTANCE)


def _hashed(photos: Iterable[Photo]) -> list[Photo]:
    """The photos with a hash, sorted by path, the first of those with the same pixels."""
    first: dict[bytes, Photo] = {}
    for photo in sorted(photos, key=lambda photo: photo.path):
        first.setdefault(photo.pixels, photo)
    return [photo for photo in first.values() if photo.hash is not None]


def _values(photos: Sequence[Photo]) -> UInt64[np.ndarray, " n"]:
    return np.array([photo.hash for photo in photos], dtype=np.uint64)


def _pairs(photos: Sequence[Photo]) -> Int64[np.ndarray, "m 2"]:
    """Pairs of positions whose pictures are alike; of equal hashes, each is compared with the first."""
    unique, first, inverse = np.unique(_values(photos), return_index=True, return_inverse=True)
    same = np.stack([first[inverse], np.arange(len(photos))], axis=1)
    pairs = np.concatenate([first[near_pairs(unique, DISTANCE)], same[same[:, 0] != same[:, 1]]]).astype(np.int64)
    if not len(pairs):
        return pairs
    thumbs = np.stack([photo.thumb for photo in photos])
    alike = [
        likeness(thumbs[part[:, 0]], thumbs[part[:, 1]]) for part in np.array_split(pairs, len(pairs) // 1_024 + 1)
    ]
    return pairs[np.concatenate(alike) >= ALIKE]


def _groups(n: int, pairs: Int64[np.ndarray, "m 2"]) -> list[list[int]]:
    """Connected positions, in groups of at least two, each sorted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, of = connected_components(links, directed=False)
    order = np.argsort(of, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(of[order])) + 1)
    return sorted(group.tolist() for group in groups if len(group) > 1)


def _finding(group: list[Photo]) -> Finding:
    labels, splits = sorted({photo.class_name for photo in group}), splits_of(group)
    across = len(splits) > 1
    kind = FindingKind.NEAR_DUPLICATE_ACROSS_SPLITS if across else FindingKind.NEAR_DUPLICATE
    what = f"of {labels[0]!r}" if len(labels) == 1 else f"with {len(labels)} labels, {', '.join(map(repr, labels[:3]))}"
    bits = max((int(photo.hash or 0) ^ int(group[0].hash or 0)).bit_count() for photo in group)
    most = "up to " if len(group) > 2 else ""
    sentence = (
        f"{len(group)} almost equal images {what} in {' and '.join(splits)}, whose hashes differ in {most}{bits} of "
        f"{BITS} bits"
    )
    return Finding(kind, sentence, found_images(group), number=bits, chance=BITS / 2)
