"""What prepare says: of classes, counts, parts, and images that are left out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from protoquant.core.events import MessageEvent
from protoquant.data.checks import Checked
from protoquant.data.official.tests_kept import said_of_tests
from protoquant.data.parts.schema import PartSchema
from protoquant.data.quarantine import Reason, Rejected, count_reasons, in_words
from protoquant.data.readers.listing import Listing


def named_classes(names: Sequence[str]) -> str:
    """Name up to five classes."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(map(repr, names[:5]))}{more}"


def of_no_images(rejected: Sequence[Rejected], root: Path) -> str:
    """Why a listing holds no image: what was there and does not count, or nothing at all."""
    if not rejected:
        return f"no images under {root}; put them into class-named folders there, or correct prepare.root"
    return (
        f"no image under {root} can be used; left out: {in_words(count_reasons(rejected))}, such as "
        f"{rejected[0].image_id}, which {rejected[0].detail}"
    )


def of_classes(frame: pd.DataFrame, classes: Sequence[str]) -> str:
    """The first classes, and the one with the fewest train images.

    Args:
        frame: The images, with ``split`` and ``class_name``.
        classes: All classes, each with a train image.
    """
    counts = frame.loc[frame["split"] == "train", "class_name"].value_counts()
    least = min(classes, key=lambda name: counts[name])
    more = ", ..." if len(classes) > 5 else ""
    n = int(counts[least])
    smallest = f"the smallest in train is {least!r} with {n:,} image{'s' * (n != 1)}"
    return f"classes: {', '.join(classes[:5])}{more}; {smallest}"


def of_tests(listing: Listing, kept: Sequence[Checked], rejected: Sequence[Rejected]) -> Iterator[MessageEvent]:
    """What became of the data's own test split, where that is not what it was."""
    tests = set(listing.frame.loc[listing.frame["split"] == "test", "path"])
    if listing.official:
        yield from said_of_tests(tests, kept, rejected)
        return
    lost = sum(one.reason is Reason.CONFLICTING_LABELS and one.image_id in tests for one in rejected)
    if lost:
        found = f"{lost:,} test image{'s' * (lost != 1)} fewer"
        yield MessageEvent(f"{found}: the same pixels bear two labels (quarantine.parquet)", level="warning")


def of_counts(images: Mapping[str, int], classes: int, left_out: Mapping[str, int]) -> str:
    """How many images there are, by split, and how many are left out, by reason."""
    named = ", ".join(f"{count:,} {name}" for name, count in images.items())
    out = f"; left out {in_words(dict(left_out))} (quarantine.parquet)" if left_out else ""
    return f"{sum(images.values()):,} images of {classes} classes: {named}{out}"


def of_parts(schema: PartSchema, images: int) -> str:
    """Which parts were found, and which of them count as twins."""
    named = ", ".join(schema.parts)
    if schema.mirrored:
        named += "; twins: " + ", ".join(f"{left} and {right}" for left, right in schema.mirrored.items())
    return f"{schema.form} of {len(schema.parts)} parts in {images:,} image{'s' * (images != 1)}: {named}"
