"""The page of a diff: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from protoquant.analysis.diff import words
from protoquant.analysis.diff.answers import ClassChange, ImageChange
from protoquant.analysis.diff.diff import Diff
from protoquant.analysis.diff.numbers import Number
from protoquant.analysis.diff.pictures import DiffPicture, image_picture, patch_pictures
from protoquant.analysis.diff.prototypes import PrototypeChange, PrototypeSummary
from protoquant.model.bundle import Bundle
from protoquant.pages.template import render_template

PROTOTYPES, CLASSES, IMAGES, SETTINGS = 16, 60, 36, 60
"""Maximum number of rows of each kind on the page, of prototypes for each verdict; the rest is only counted."""
_PATCHES, _SPEAKS_FOR = 3, 3
_VERDICTS = {
    "moved": "Much the same part, under a code that moved; those that moved farthest first.",
    "new": "No prototype of the first model is their partner; the heaviest weights first.",
    "lost": "No prototype of the second model is their partner; the heaviest weights first.",
}


_T = TypeVar("_T")


@dataclass(frozen=True)
class NumberRow:
    """A row of the table of numbers; ``range`` holds low, change and high as places in [0, 100], zero at 50."""

    name: str
    before: str
    after: str
    change: str
    interval: str
    range: tuple[float, float, float] | None
    mark: str


@dataclass(frozen=True)
class Speaks:
    """A class that a prototype speaks for, with its weight before and after; empty where it has none."""

    class_name: str
    before: str
    after: str


@dataclass(frozen=True)
class Side:
    """One model's half of a card: the prototype and its patches."""

    prototype: PrototypeSummary
    patches: tuple[DiffPicture, ...]


@dataclass(frozen=True)
class PrototypeCard:
    """A prototype on the page."""

    similarity: float | None
    sides: tuple[tuple[str, Side], ...]
    speaks: tuple[Speaks, ...]
    others: int


@dataclass(frozen=True)
class VerdictGroup:
    """The prototypes of one verdict: the number of all, and cards of those that are shown."""

    verdict: str
    intro: str
    count: int
    cards: tuple[PrototypeCard, ...]


@dataclass(frozen=True)
class ChangedImage:
    """An image whose answer changed, with its picture where there is one."""

    image: ImageChange
    picture: DiffPicture | None


def render(diff: Diff, before: Bundle, after: Bundle, *, images: Path | None = None) -> str:
    """Write the page.

    Args:
        diff: Diff of the two bundles.
        before: The first model; its patches are shown.
        after: The second.
        images: Folder that image ids are relative to, for pictures of the changed images; None: names only.

    Returns:
        The document; every value is escaped; the same input gives the same text.
    """
    counts = diff.verdicts()
    preprocessing = after.backbone.preprocessing
    return render_template(
        __name__,
        "page.html",
        diff=diff,
        headline=words.headline(diff),
        lines=_lines(diff, diff.numbers),
        test_lines=_lines(diff, diff.test_numbers),
        settings=diff.settings[:SETTINGS],
        counts=counts,
        shares=_shares(counts),
        groups=[_group(diff, name, before, after) for name in _VERDICTS if counts[name]],
        classes=_classes(diff.classes),
        images=[
            ChangedImage(image, image_picture(images, image.image_id, preprocessing)) for image in _images(diff.images)
        ],
        kinds={kind: sum(image.kind == kind for image in diff.images) for kind in ("gained", "lost", "other")},
    )


def _lines(diff: Diff, numbers: Sequence[Number]) -> list[NumberRow]:
    ends = [abs(end) for number in numbers for end in (number.low, number.high) if end is not None]
    scale = 46.0 / max([*ends, 1e-9])
    return [_line(number, scale, clear=words.is_clear(diff, number)) for number in numbers]


def _line(number: Number, scale: float, *, clear: bool) -> NumberRow:
    change = number.change
    held = None
    if number.low is not None and number.high is not None and change is not None:
        low, middle, high = (round(50.0 + scale * value, 2) for value in (number.low, change, number.high))
        held = (low, middle, high)
    mark = ""
    if clear and number.better is not None and change:
        mark = "good" if (change > 0) == (number.better == "higher") else "bad"
    before, after = words.amount(number, number.before), words.amount(number, number.after)
    return NumberRow(number.name, before, after, words.change(number, change), words.interval(number), held, mark)


def _shares(counts: dict[str, int]) -> list[tuple[str, int, float]]:
    """Verdict, number and share of the bar in percent."""
    total = max(sum(counts.values()), 1)
    return [(name, count, round(100.0 * count / total, 2)) for name, count in counts.items() if count]


def _group(diff: Diff, verdict: str, before: Bundle, after: Bundle) -> VerdictGroup:
    found = [change for change in diff.prototypes if change.verdict == verdict]
    cards = tuple(_card(change, diff.names, before, after) for change in found[:PROTOTYPES])
    return VerdictGroup(verdict, _VERDICTS[verdict], len(found), cards)


def _card(change: PrototypeChange, names: tuple[str, str], before: Bundle, after: Bundle) -> PrototypeCard:
    both = zip(names, (change.before, change.after), (before, after), strict=True)
    sides = tuple(
        (name, Side(prototype, patch_pictures(bundle, prototype.code, _PATCHES)))
        for name, prototype, bundle in both
        if prototype is not None
    )
    one, other = _weights(change.before), _weights(change.after)
    heaviest = sorted(
        one.keys() | other.keys(), key=lambda name: (-max(one.get(name, 0.0), other.get(name, 0.0)), name)
    )
    speaks = tuple(Speaks(name, _weight(one.get(name)), _weight(other.get(name))) for name in heaviest[:_SPEAKS_FOR])
    return PrototypeCard(change.similarity, sides, speaks, len(heaviest) - len(speaks))


def _weights(prototype: PrototypeSummary | None) -> dict[str, float]:
    return {} if prototype is None else {each.class_name: each.weight for each in prototype.speaks_for}


def _weight(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _classes(classes: Sequence[ClassChange]) -> list[ClassChange]:
    """Order the classes: those that lost, then those that gained, most first, then the others by change of weight."""
    lost = [each for each in classes if _gain(each) < 0]
    gained = [each for each in reversed(classes) if _gain(each) > 0]
    others = [each for each in classes if _gain(each) == 0]
    others.sort(key=lambda each: -abs(each.weights[0].change) if each.weights else 0.0)
    ends = _shares_of([lost, gained], CLASSES)
    return [*ends[0], *ends[1], *others][:CLASSES]


def _gain(each: ClassChange) -> float:
    return each.change or each.gained - each.lost


def _images(images: Sequence[ImageChange]) -> list[ImageChange]:
    """Choose the images to show, with a fair share of each kind."""
    by_kind = [[image for image in images if image.kind == kind] for kind in ("lost", "gained", "other")]
    return [image for held in _shares_of(by_kind, IMAGES) for image in held]


def _shares_of(groups: Sequence[list[_T]], room: int) -> list[list[_T]]:
    """Take the first of each group, and give the room that a short group leaves to the longer ones."""
    kept: dict[int, list[_T]] = {}
    for left, place in enumerate(sorted(range(len(groups)), key=lambda place: len(groups[place]))):
        kept[place] = groups[place][: room // (len(groups) - left)]
        room -= len(kept[place])
    return [kept[place] for place in range(len(groups))]
