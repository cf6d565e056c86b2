"""Checks a copy of a published set against the counts that were published with it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.complete import few
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SplitName


@dataclass(frozen=True)
class PublishedSet:
    """What the authors of a set say of it.

    Attributes:
        title: Its name.
        where: Where a whole copy is to be had, as advice in errors.
        classes: Number of classes.
        images: Number of images of each split.
        each: Number of images of every class in a split, where all have the same.
    """

    title: str
    where: str
    classes: int
    images: Mapping[SplitName, int]
    each: Mapping[SplitName, int] = field(default_factory=dict)

    @property
    def mend(self) -> str:
        """What to do about a copy that lacks images."""
        return f"{self.where}; for a subset set prepare.partial: true (params.yaml)"


@dataclass(frozen=True)
class FoundImages:
    """What a copy of a set holds.

    Attributes:
        frame: ``path``, ``class_name`` and ``split`` of every image that its files name, or that lies in it.
        classes: Names of all classes, in the order of the official labels.
        titles: Readable names of classes.
        counts: Number of images of each class in a split, where the copy itself says it.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[SplitName, Mapping[str, int]] = field(default_factory=dict)


def rows_of(rows: Sequence[tuple[str, str, SplitName]]) -> pd.DataFrame:
    """A frame of path, class name and split."""
    return pd.DataFrame(rows, columns=["path", "class_name", "split"])


def list_whole(
    root: Path, found: FoundImages, published: PublishedSet, *, look: bool, partial: bool, on_event: OnEvent
) -> Listing:
    """List a copy, if it is whole or may be a part.

    Args:
        root: The folder that paths are relative to.
        found: What the copy holds.
        published: What it should hold.
        look: Whether the images are named by a file, so that each must be looked for.
        partial: Take the images that are there, of the classes that have a train image.
        on_event: With ``partial``, receives a message with the counts.

    Raises:
        DataError: Images are missing or counts differ, and ``partial`` is not set; or no train image is there.
    """
    frame = found.frame
    there = pd.Series([not look or (root / path).is_file() for path in frame["path"]], frame.index, dtype=bool)
    if partial:
        return _part(root, replace(found, frame=frame[there]), published, on_event)
    if absent := frame.loc[~there, "path"].tolist():
        raise DataError(f"{root} lacks {few(absent, 'image', 'images')} of {published.title}; {published.mend}")
    _check_counts(root, found, published)
    return Listing(found.frame, root, found.classes, titles=found.titles, official=True)


def _part(root: Path, there: FoundImages, published: PublishedSet, on_event: OnEvent) -> Listing:
    """List the images of the classes that can be trained, and say how many they are."""
    trained = set(there.frame.loc[there.frame["split"] == "train", "class_name"])
    if not trained:
        raise DataError(f"{root} holds no train image of {published.title}; {published.where}")
    kept = there.frame[there.frame["class_name"].isin(trained)].reset_index(drop=True)
    classes = tuple(name for name in there.classes if name in trained)
    on_event(MessageEvent(_said_of_part(kept, len(there.frame) - len(kept), len(classes), published), "warning"))
    return Listing(kept, root, classes, titles=there.titles, official=True)


def _check_counts(root: Path, found: FoundImages, published: PublishedSet) -> None:
    """Refuse a copy with other counts than the published ones."""

    def refuse(many: int, what: str, held: int) -> DataError:
        return DataError(f"{published.title} has {many:,} {what}, {root} holds {held:,}; {published.mend}")

    for split, many in published.images.items():
        names = found.frame.loc[found.frame["split"] == split, "class_name"]
        counts = Counter(names)
        wanted = dict.fromkeys(found.classes, published.each[split]) if split in published.each else {}
        for name, count in {**wanted, **found.counts.get(split, {})}.items():
            if counts and counts[name] != count:
                raise refuse(count, f"{split} images of class {name!r}", counts[name])
        if len(names) != many:
            raise refuse(many, f"{split} images", len(names))
        if len(counts) != published.classes:
            raise refuse(published.classes, f"classes in {split}", len(counts))


def _said_of_part(kept: pd.DataFrame, passed: int, classes: int, published: PublishedSet) -> str:
    """How much of a set is there, and what follows from it."""
    counts = Counter(kept["split"])
    images = ", ".join(f"{counts[split]:,} of {many:,} {split}" for split, many in published.images.items())
    text = f"part of {published.title} (prepare.partial): {images} images, {classes:,} of {published.classes:,} classes"
    if passed:
        text += f"; passed over: {passed:,} image{'s' * (passed != 1)} of classes without a train image"
    return text if counts["test"] else f"{text}; test is cut from train and is not the published one"
