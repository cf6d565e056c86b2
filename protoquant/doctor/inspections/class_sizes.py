"""Classes with too few images, with none in a split, or far smaller than others."""

from collections.abc import Iterable, Mapping

from protoquant.doctor.findings import Finding, FindingKind, found_images
from protoquant.doctor.photo import Photo

FEW = 5
"""Train images below which a class is tiny."""
UNEQUAL = 10
"""Ratio of the largest class in train to the smallest from which classes are called unequal."""
_SHOWN = 8


def class_sizes(
    counts: Mapping[str, Mapping[str, int]], photos: Iterable[Photo], *, splits_known: bool
) -> list[Finding]:
    """Look at the number of images by class and split.

    Args:
        counts: Images by class and split; a class without images is there too.
        photos: Photos to show as examples.
        splits_known: Whether the counts of splits are those of all images; else no class lacks in a split.
    """
    shown: dict[str, list[Photo]] = {name: [] for name in counts}
    for photo in photos:
        if len(shown[photo.class_name]) < _SHOWN:
            shown[photo.class_name].append(photo)
    return [
        *_tiny(counts, shown),
        *(_missing(counts, shown) if splits_known else []),
        *_unequal(counts, shown),
    ]


def _tiny(counts: Mapping[str, Mapping[str, int]], shown: Mapping[str, list[Photo]]) -> list[Finding]:
    found = []
    for name, of in counts.items():
        n = of["train"]
        if 0 < n < FEW:
            sentence = f"class {name!r} has {n} train image{'s' * (n != 1)}; parts need {FEW} or more"
            found.append(Finding(FindingKind.TINY_CLASS, sentence, found_images(shown[name]), number=n))
    return found


def _missing(counts: Mapping[str, Mapping[str, int]], shown: Mapping[str, list[Photo]]) -> list[Finding]:
    splits = next(iter(counts.values())).keys()
    found = []
    for name, of in counts.items():
        if lacking := [split for split in splits if not of[split]]:
            sentence = f"class {name!r} has no image in {' and '.join(lacking)}"
            found.append(Finding(FindingKind.CLASS_MISSING, sentence, found_images(shown[name]), number=0))
    return found


def _unequal(counts: Mapping[str, Mapping[str, int]], shown: Mapping[str, list[Photo]]) -> list[Finding]:
    """One finding for the whole set; classes without train images are told elsewhere."""
    sizes = {name: of["train"] for name, of in counts.items() if of["train"]}
    if len(sizes) < 2:
        return []
    large, small = max(sizes, key=lambda name: sizes[name]), min(sizes, key=lambda name: sizes[name])
    ratio = sizes[large] / sizes[small]
    if ratio < UNEQUAL:
        return []
    sentence = (
        f"the largest class in train, {large!r} with {sizes[large]:,} images, is {ratio:,.0f} times the smallest, "
        f"{small!r} with {sizes[small]:,}"
    )
    return [Finding(FindingKind.IMBALANCE, sentence, found_images(shown[small]), number=ratio, chance=1.0)]
