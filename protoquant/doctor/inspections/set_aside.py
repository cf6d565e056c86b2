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
    n, first = len(images), images[0]
    count = f"{n:,} file{'s are' if n != 1 else ' is'}"
    sentence = f"{count} left out as {reason}{', such as' if n != 1 else ':'} {first.path}, which {first.note}"
    return Finding(FindingKind.SET_ASIDE, sentence, tuple(images), number=n)
