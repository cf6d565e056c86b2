"""Whether validation and test are photos of the same kind as train, by what has nothing to do with the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protoquant.doctor.findings import Finding, FindingKind, found_images
from protoquant.doctor.photo import Photo

LEVEL = 0.01
"""Share of false alarms among the differences told (Benjamini-Hochberg)."""
LEAST_DIFFERENCE = 0.2
"""Least difference, from 0 to 1, however sure it is: with many images, any difference is sure."""
LEAST_IMAGES = 10
_EXPECTED = 5.0  # images of a cell, below which the approximation by chi-squared is none
_SHOWN = 4


@dataclass(frozen=True)
class _Difference:
    """One property in train and in another split."""

    name: str
    split: str
    size: float
    p_value: float
    text: str
    shown: tuple[Photo, ...]


def split_drift(train: Sequence[Photo], others: Mapping[str, Sequence[Photo]]) -> list[Finding]:
    """Compare every other split with train, property by property.

    Args:
        train: The photos of train.
        others: The photos of the other splits; one with fewer than ten images is passed over.
    """
    from scipy import stats

    if len(train) < LEAST_IMAGES:
        return []
    tried = [
        difference
        for split, photos in others.items()
        if len(photos) >= LEAST_IMAGES
        for difference in (*_numbers(train, photos, split), *_categories(train, photos, split))
    ]
    if not tried:
        return []
    q_values = stats.false_discovery_control([one.p_value for one in tried], method="bh")
    return [
        _finding(one)
        for one, q_value in zip(tried, q_values, strict=True)
        if q_value < LEVEL and one.size >= LEAST_DIFFERENCE
    ]


def _finding(one: _Difference) -> Finding:
    sentence = f"train and {one.split} differ in {one.name}: {one.text}"
    return Finding(FindingKind.SPLIT_DRIFT, sentence, found_images(one.shown), number=one.size, chance=0.0)


def _grey(photo: Photo) -> Float[np.ndarray, "32 32"]:
    grey: Float[np.ndarray, "32 32"] = photo.thumb.mean(axis=2)
    return grey


_NUMBERS: Mapping[str, Callable[[Photo], float]] = {
    "width": lambda photo: photo.width,
    "height": lambda photo: photo.height,
    "bytes per pixel": lambda photo: photo.size / (photo.width * photo.height),
    "brightness": lambda photo: float(_grey(photo).mean()),
    "contrast": lambda photo: float(_grey(photo).std()),
    "colourfulness": lambda photo: float(np.ptp(photo.thumb, axis=2).mean()),
    "warmth (red minus blue)": lambda photo: float(photo.thumb[..., 0].mean()) - float(photo.thumb[..., 2].mean()),
}
_CATEGORIES: Mapping[str, Callable[[Photo], str | None]] = {
    "format": lambda photo: photo.format,
    "colour mode": lambda photo: photo.mode,
    "camera": lambda photo: photo.camera,
}


def _numbers(train: Sequence[Photo], photos: Sequence[Photo], split: str) -> Iterator[_Difference]:
    """Kolmogorov-Smirnov tests; the size is their statistic, the largest gap of the two distributions."""
    from scipy import stats

    for name, value in _NUMBERS.items():
        ours, theirs = (np.array([value(photo) for photo in some], dtype=np.float64) for some in (train, photos))
        result = stats.ks_2samp(ours, theirs, method="asymp")
        medians = float(np.median(ours)), float(np.median(theirs))
        text = f"median {medians[0]:,.4g} against {medians[1]:,.4g}, distributions {result.statistic:.2f} apart of 1"
        shown = (*_nearest(train, ours, medians[0]), *_nearest(photos, theirs, medians[1]))
        yield _Difference(name, split, float(result.statistic), float(result.pvalue), text, shown)


def _categories(train: Sequence[Photo], photos: Sequence[Photo], split: str) -> Iterator[_Difference]:
    """Chi-squared tests, small categories together; the size is the total variation distance."""
    from scipy import stats

    for name, value in _CATEGORIES.items():
        ours, theirs = (Counter(value(photo) or "none" for photo in some) for some in (train, photos))
        table = _table(ours, theirs)
        if table.shape[1] < 2:
            continue
        shares = table / table.sum(axis=1, keepdims=True)
        size = float(np.abs(shares[0] - shares[1]).sum() / 2)
        most = max(sorted({*ours, *theirs}), key=lambda key: abs(ours[key] / len(train) - theirs[key] / len(photos)))
        text = (
            f"{most} in {100 * ours[most] / len(train):.0f} % against {100 * theirs[most] / len(photos):.0f} %, "
            f"shares {size:.2f} apart of 1"
        )
        shown = [
            photo for some in (train, photos) for photo in [p for p in some if (value(p) or "none") == most][:_SHOWN]
        ]
        yield _Difference(name, split, size, float(stats.chi2_contingency(table).pvalue), text, tuple(shown))


def _table(ours: Counter[str], theirs: Counter[str]) -> Float[np.ndarray, "2 k"]:
    """Counts by category, those expected in fewer than five images of a split as one."""
    of, least = ours.total() + theirs.total(), min(ours.total(), theirs.total())
    names = sorted({*ours, *theirs})
    common = [name for name in names if (ours[name] + theirs[name]) * least / of >= _EXPECTED]
    rows = [
        [some[name] for name in common] + [some.total() - sum(some[name] for name in common)] for some in (ours, theirs)
    ]
    table = np.array(rows, dtype=np.float64)
    return table[:, table.sum(axis=0) > 0]


def _nearest(photos: Sequence[Photo], values: Float[np.ndarray, " n"], middle: float) -> list[Photo]:
    """The photos whose values are nearest to the middle."""
    return [photos[place] for place in np.argsort(np.abs(values - middle), kind="stable")[:_SHOWN]]
