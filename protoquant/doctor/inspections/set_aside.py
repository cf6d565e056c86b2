"""Files that prepare would leave out, other than for the pixels of another image."""

from collections.abc import Iterable

from protoquant.data.quarantine import Reason, Rejected
from protoquant.doctor.findings import Finding, FindingKind, FoundImage

_OF_COPIES = frozenset({Reason.DUPLICATE, Reason.LEAK, Reason.CONFLICTING_LABELS})


def set_aside(left_out: Iterable[tuple[FoundImage, Rejected]]) -> list[Finding]:
    """Group what is left out by its reason; copies are findings of their own (``copies.py``).

    Args:
        left_out: Each image with the row that prepare would write into its quarantine table.
    """
    by_reason: dict[Reason, list[FoundImage]] = {}
    for image, row in left_out:
        if row.reason not in _OF_COPIES:
            by_reason.setdefault(row.reason, []).append(image)
    return [_finding(reason, by_reason[reason]) for reason in Reason if reason in by_reason]


def _finding(reason: Reason, images: list[FoundImage]) -> Finding:
    n = len(images)
    sentence = f"{n:,} file{'s' * (n != 1)} left out as {reason}, such as {images[0].path}, which {images[0].note}"
    return Finding(FindingKind.SET_ASIDE, sentence, tuple(images), number=n)
