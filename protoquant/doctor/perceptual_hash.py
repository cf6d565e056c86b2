"""A hash of what a picture shows, and all pairs of hashes that are near, without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt64

SIDE = 32
"""Side of a thumbnail, in pixels."""
BITS = 64
LARGEST = 4_096
"""Hashes of one bucket that are compared with each other; pictures in a larger bucket are all of one pattern."""
_LOW = 8  # cosines in each direction
_LEAST_CONTRAST = 4.0  # levels: below it, noise and rounding alone decide the bits
_LUMA = np.array([0.299, 0.587, 0.114])
_ROWS = 512


def perceptual_hash(thumb: UInt8[np.ndarray, "32 32 3"]) -> int | None:
    """Hash a thumbnail by the signs of its slowest waves.

    Compression, another size and another brightness change few bits; another picture changes about half of them.

    Args:
        thumb: RGB.

    Returns:
        64 bits; None if the picture has almost no contrast, so that flat pictures never look alike.

    Source:
        Zauner 2010, section 3.2.1: the 8 x 8 lowest coefficients of the cosine transform against their median.
    """
    from scipy.fft import dctn

    grey = thumb @ _LUMA
    if grey.std() < _LEAST_CONTRAST:
        return None
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW].ravel()
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


def near_pairs(hashes: UInt64[np.ndarray, " n"], distance: int) -> Int64[np.ndarray, "m 2"]:
    """Find all pairs of hashes that differ in at most some bits.

    The bits are cut into ``distance + 1`` bands. Two hashes that differ in at most ``distance`` bits agree in at least
    one band, so only hashes with an equal band are compared.

    Args:
        hashes: Hashes, each once: many equal ones would make all pairs.
        distance: Most bits in which the hashes of a pair differ, in [0, 63].

    Returns:
        Positions (m, 2), the smaller first, sorted. Hashes that only meet in a bucket of more than ``LARGEST`` are not
        compared; :func:`crowded` counts them.

    Source:
        Norouzi, Punjani and Fleet 2012, multi-index hashing.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for bucket in _buckets(hashes, distance):
        if len(bucket) <= LARGEST:
            found += _within(hashes, bucket, distance)
    pairs: Int64[np.ndarray, "m 2"] = np.unique(np.concatenate(found), axis=0)
    return pairs


def crowded(hashes: UInt64[np.ndarray, " n"], distance: int) -> int:
    """Number of hashes in buckets that :func:`near_pairs` passes over; 0 if it finds every pair."""
    return len({place for bucket in _buckets(hashes, distance) if len(bucket) > LARGEST for place in bucket.tolist()})


def likeness(one: UInt8[np.ndarray, "n 32 32 3"], other: UInt8[np.ndarray, "n 32 32 3"]) -> Float[np.ndarray, " n"]:
    """Correlation of the edges of thumbnails, pair by pair, in [-1, 1]; brightness and contrast do not matter.

    The edges are slopes of each colour after a light blur. Plain values would not do: objects of one shape on one plain
    background correlate by 0.94.
    """
    alike: Float[np.ndarray, " n"] = (_edges(one) * _edges(other)).mean(axis=1)
    return alike


def _edges(thumbs: UInt8[np.ndarray, "n 32 32 3"]) -> Float[np.ndarray, "n p"]:
    """Horizontal and vertical slopes, standardised; those at the margin are left out."""
    soft = thumbs.astype(np.float64)
    soft = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:]) / 4
    soft = (soft[:, :, :-2] + 2 * soft[:, :, 1:-1] + soft[:, :, 2:]) / 4
    slopes = soft[:, 2:, 1:-1] - soft[:, :-2, 1:-1], soft[:, 1:-1, 2:] - soft[:, 1:-1, :-2]
    edges = np.stack(slopes, axis=1).reshape(len(thumbs), -1)
    edges -= edges.mean(axis=1, keepdims=True)
    edges /= np.maximum(edges.std(axis=1, keepdims=True), 1e-9)
    return edges


def _buckets(hashes: UInt64[np.ndarray, " n"], distance: int) -> Iterator[Int64[np.ndarray, " b"]]:
    """Positions of hashes with an equal band, in groups of at least two."""
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    for low, high in pairwise(edges):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        yield from (bucket for bucket in np.split(order, starts) if len(bucket) > 1)


def _within(
    hashes: UInt64[np.ndarray, " n"], bucket: Int64[np.ndarray, " b"], distance: int
) -> Iterator[Int64[np.ndarray, "m 2"]]:
    """The near pairs of a bucket; a stable sort left its positions in order."""
    values = hashes[bucket]
    for start in range(0, len(bucket), _ROWS):
        differing = np.bitwise_count(values[start : start + _ROWS, None] ^ values[None, :])
        rows, columns = np.nonzero(differing <= distance)
        rows += start
        before = rows < columns
        yield np.stack([bucket[rows[before]], bucket[columns[before]]], axis=1)
