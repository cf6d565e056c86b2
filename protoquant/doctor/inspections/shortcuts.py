"""Whether the class can be told without the object: from a corner, the border, the surroundings or the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from protoquant.core.artifacts import digest_bytes
from protoquant.doctor.findings import Finding, FindingKind, FoundImage
from protoquant.doctor.inspections.cross_fit import FOLDS, AgainstChance, Told, told
from protoquant.doctor.perceptual_hash import SIDE
from protoquant.doctor.photo import Photo

LEAST_GAIN = 0.1
"""Least part of the way from chance to certainty that a source must go over all classes, however sure it is."""
LEAST_OF_ONE = 0.6
"""The same for one class against the others: a watermark on one class of many moves their mean by little."""
LEAST_DEVIATIONS = 5.0
"""Least distance from shuffled labels, in their standard deviations; nine sources are tried."""
MOST_IMAGES = 2_000
MOST_CLASSES = 200
_CORNER, _BORDER, _CENTRE = 6, 2, SIDE // 4  # pixels of a thumbnail
_CLASSES_SHOWN, _IMAGES_SHOWN = 3, 4


@dataclass(frozen=True)
class _Source:
    """What the classifier sees, as the subject of a sentence, and its numbers (n, d)."""

    name: str
    values: Float[np.ndarray, "n d"]


def shortcuts(photos: Iterable[Photo]) -> list[Finding]:
    """Try each source on a sample of train images; of the four corners, the best is told.

    Args:
        photos: The photos of train. Classes with fewer images than there are folds are passed over.
    """
    chosen = _sample(photos)
    names = sorted({photo.class_name for photo in chosen})
    if len(names) < 2:
        return []
    label_of = {name: label for label, name in enumerate(names)}
    labels = np.array([label_of[photo.class_name] for photo in chosen], dtype=np.int64)
    findings = []
    for sources in _sources(chosen):
        tried = [(source, told(source.values, labels)) for source in sources if np.ptp(source.values, axis=0).any()]
        findings += _best(tried, chosen, labels, names)
    return findings


def _best(
    tried: Sequence[tuple[_Source, Told]],
    photos: Sequence[Photo],
    labels: Int64[np.ndarray, " n"],
    names: Sequence[str],
) -> list[Finding]:
    """The source that tells all classes best if that is an alarm; else the one that tells one class best, if it is."""
    chance = 1 / len(names)
    for source, result in sorted(tried, key=lambda pair: -pair[1].accuracy.value):
        if (result.accuracy.value - chance) / (1 - chance) >= LEAST_GAIN and _sure(result.accuracy):
            return [_of_all(source.name, result, photos, labels, names)]
    for source, result in sorted(tried, key=lambda pair: -pair[1].best.value):
        if result.best.value >= LEAST_OF_ONE and _sure(result.best):
            return [_of_one(source.name, result, photos, labels, names)]
    return []


def _sure(score: AgainstChance) -> bool:
    return score.deviations >= LEAST_DEVIATIONS


def _sample(photos: Iterable[Photo]) -> list[Photo]:
    """As many images of each class, drawn by the digests of their names."""
    by_class: dict[str, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: photo.sha256 + photo.path):
        by_class[photo.class_name].append(photo)
    usable = sorted((name for name, of in by_class.items() if len(of) >= FOLDS), key=_digest)[:MOST_CLASSES]
    share = MOST_IMAGES // max(1, len(usable))
    return [photo for name in sorted(usable) for photo in by_class[name][:share]]


def _digest(name: str) -> str:
    return digest_bytes(name.encode())


def _sources(photos: Sequence[Photo]) -> Iterator[list[_Source]]:
    thumbs = np.stack([photo.thumb for photo in photos]).astype(np.float64)
    n = len(photos)
    near, far = slice(0, _CORNER), slice(SIDE - _CORNER, SIDE)
    corners = {
        "top left": (near, near),
        "top right": (near, far),
        "bottom left": (far, near),
        "bottom right": (far, far),
    }
    yield [
        _Source(f"the {name} corner", thumbs[:, rows, columns].reshape(n, -1))
        for name, (rows, columns) in corners.items()
    ]
    yield [_Source("the border", thumbs[:, _frame(_BORDER)].reshape(n, -1))]
    around = thumbs[:, _frame(_CENTRE)]
    yield [_Source("the mean colour outside the centre", np.concatenate([around.mean(1), around.std(1)], axis=1))]
    sides = np.log([[photo.width, photo.height, photo.width / photo.height] for photo in photos])
    yield [_Source("the size in pixels", sides)]
    density = np.log([[photo.size / (photo.width * photo.height)] for photo in photos])
    yield [_Source("the file's bytes per pixel", density)]
    yield [_Source("the combination of format, colour mode and camera", _categories(photos))]


def _frame(depth: int) -> np.ndarray:
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[depth:-depth, depth:-depth] = True
    frame: np.ndarray = ~inside
    return frame


def _categories(photos: Sequence[Photo]) -> Float[np.ndarray, "n k"]:
    columns = []
    for of in (
        [photo.format for photo in photos],
        [photo.mode for photo in photos],
        [photo.camera for photo in photos],
    ):
        columns += [[float(value == name) for value in of] for name in sorted(set(of), key=str)]
    return np.array(columns).T


def _of_all(
    name: str, result: Told, photos: Sequence[Photo], labels: Int64[np.ndarray, " n"], names: Sequence[str]
) -> Finding:
    chance, score = 1 / len(names), result.accuracy
    best = sorted(range(len(names)), key=lambda label: (-result.gains[label], label))[:_CLASSES_SHOWN]
    most = ", ".join(f"{names[label]!r} {100 * result.recall[label]:.0f} %" for label in best)
    sentence = (
        f"{name} alone tells the class in {100 * score.value:.0f} % of {len(photos):,} train images (chance "
        f"{100 * chance:.0f} %, shuffled labels {100 * score.shuffled:.0f} %); best: {most}"
    )
    images = _examples(result, photos, labels, best)
    return Finding(FindingKind.SHORTCUT, sentence, images, number=score.value, chance=chance)


def _of_one(
    name: str, result: Told, photos: Sequence[Photo], labels: Int64[np.ndarray, " n"], names: Sequence[str]
) -> Finding:
    label, score = int(result.gains.argmax()), result.best
    recall = result.recall[label]
    sentence = (
        f"{name} alone tells {names[label]!r}: {100 * recall:.0f} % of its train images are called so, of the others "
        f"{100 * (recall - score.value):.0f} % (the best class of shuffled labels is {100 * score.shuffled:.0f} % "
        f"apart)"
    )
    images = _examples(result, photos, labels, [label])
    return Finding(FindingKind.SHORTCUT, sentence, images, number=score.value, chance=score.shuffled)


def _examples(
    result: Told, photos: Sequence[Photo], labels: Int64[np.ndarray, " n"], classes: Sequence[int]
) -> tuple[FoundImage, ...]:
    places = [place for of in classes for place in np.flatnonzero((labels == of) & result.right)[:_IMAGES_SHOWN]]
    return tuple(FoundImage.of(photos[place]) for place in places)
