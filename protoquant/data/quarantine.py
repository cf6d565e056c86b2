"""Reasons why images are left out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from protoquant.core.errors import DataError


class Reason(StrEnum):
    """The reasons of ``quarantine.parquet``."""

    MISSING = "missing"
    ZERO_BYTES = "zero_bytes"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    NOT_AN_IMAGE = "not_an_image"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    DUPLICATE = "duplicate"
    LEAK = "leak"
    CONFLICTING_LABELS = "conflicting_labels"
    BAD_NAME = "bad_name"
    UNREADABLE = "unreadable"
    OUTSIDE_CLASS_FOLDER = "outside_class_folder"
    AMBIGUOUS = "ambiguous"
    EXCLUDED = "excluded"


class ImageError(DataError):
    """One image cannot be used.

    Attributes:
        reason: The kind of fault.
        detail: What was found and what to do, without the image's name.
    """

    def __init__(self, name: str, reason: Reason, detail: str):
        super().__init__(f"{name} {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of the quarantine table."""

    image_id: str
    reason: Reason
    detail: str


def count_reasons(rejected: Iterable[Rejected]) -> dict[str, int]:
    """Count images by reason, in alphabetical order of the reasons."""
    counts = Counter(row.reason.value for row in rejected)
    return {reason: counts[reason] for reason in sorted(counts)}


def in_words(counts: dict[str, int]) -> str:
    """Write counts by reason as ``2 duplicate, 1 truncated``."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
