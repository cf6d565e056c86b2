"""Images of extreme size or shape, and colour modes of a few."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from protoquant.doctor.findings import Finding, FindingKind, found_images
from protoquant.doctor.photo import Photo

INPUT = 224
"""Side of most backbones' input, in pixels."""
LONG = 3.0
"""Longer side over shorter side, above which a shape is extreme."""
FACTOR = 3.0
"""Least factor from the median size to an outlier's, whatever the spread."""
SPREADS = 6.0
"""Least distance of an outlier from the median, in robust standard deviations of the logarithm."""
MINORITY = 0.1
"""Share of images below which a colour mode is one of a few."""
_MAD = 1.4826  # of a normal distribution, standard deviation over median absolute deviation


def shapes(photos: Sequence[Photo]) -> list[Finding]:
    """Look at width, height and colour mode of every photo.

    Args:
        photos: The photos that are kept.
    """
    if not photos:
        return []
    return [*_small(photos), *_long(photos), *_outliers(photos), *_modes(photos)]


def _small(photos: Sequence[Photo]) -> list[Finding]:
    small = [photo for photo in photos if min(photo.width, photo.height) < INPUT]
    if not small:
        return []
    least = min(small, key=lambda photo: (min(photo.width, photo.height), photo.path))
    sentence = (
        f"{_count(small, photos)} have a shorter side below {INPUT} pixels; the smallest, {least.path}, has "
        f"{least.width} x {least.height}"
    )
    return [Finding(FindingKind.LOW_RESOLUTION, sentence, found_images(small), number=len(small) / len(photos))]


def _long(photos: Sequence[Photo]) -> list[Finding]:
    ratio = {photo.path: max(photo.width, photo.height) / min(photo.width, photo.height) for photo in photos}
    long = [photo for photo in photos if ratio[photo.path] > LONG]
    if not long:
        return []
    most = max(long, key=lambda photo: ratio[photo.path])
    sentence = (
        f"{_count(long, photos)} have a side over {LONG:.0f} times the other; the longest, {most.path}, has "
        f"{most.width} x {most.height}"
    )
    return [Finding(FindingKind.EXTREME_ASPECT, sentence, found_images(long), number=ratio[most.path])]


def _outliers(photos: Sequence[Photo]) -> list[Finding]:
    """Sizes (square root of width times height) far from the median by factor and by spread."""
    logs = np.log([(photo.width * photo.height) ** 0.5 for photo in photos])
    median = np.median(logs)
    far = np.abs(logs - median)
    limit = max(np.log(FACTOR), SPREADS * _MAD * float(np.median(far)))
    odd = [photo for photo, distance in zip(photos, far, strict=True) if distance > limit]
    if not odd:
        return []
    side, first = float(np.exp(median)), photos[int(far.argmax())]
    sentence = (
        f"{_count(odd, photos)} are far from the usual size of about {side:,.0f} x {side:,.0f} pixels; the farthest, "
        f"{first.path}, has {first.width:,} x {first.height:,}"
    )
    return [Finding(FindingKind.SIZE_OUTLIER, sentence, found_images(odd), number=float(np.exp(far.max())))]


def _modes(photos: Sequence[Photo]) -> list[Finding]:
    counted = Counter(photo.mode for photo in photos)
    found = []
    for mode in sorted(mode for mode, n in counted.items() if n < MINORITY * len(photos)):
        of = [photo for photo in photos if photo.mode == mode]
        usual = max(sorted(counted), key=lambda name: counted[name])
        sentence = f"{_count(of, photos)} are {mode}, while most are {usual}"
        found.append(Finding(FindingKind.ODD_MODE, sentence, found_images(of), number=len(of) / len(photos)))
    return found


def _count(some: Sequence[Photo], photos: Sequence[Photo]) -> str:
    return f"{len(some):,} of {len(photos):,} images"
