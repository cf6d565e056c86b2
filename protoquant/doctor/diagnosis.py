"""All findings of a data set, what could not be looked at, and a summary in one sentence."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protoquant.core.artifacts import rounded
from protoquant.core.events import OnEvent, track
from protoquant.data.splits import SPLITS
from protoquant.doctor.findings import FACTS, Finding, FindingKind, Severity
from protoquant.doctor.inspections.class_sizes import class_sizes
from protoquant.doctor.inspections.copies import copies
from protoquant.doctor.inspections.near_copies import crowded_hashes, near_copies
from protoquant.doctor.inspections.set_aside import set_aside
from protoquant.doctor.inspections.shapes import shapes
from protoquant.doctor.inspections.shoots import shoots
from protoquant.doctor.inspections.shortcuts import shortcuts
from protoquant.doctor.inspections.split_drift import split_drift
from protoquant.doctor.survey import Survey

if TYPE_CHECKING:
    from protoquant.doctor.photo import Photo

COLUMNS = ("path", "sha256", "reason", "kind", "class", "split")


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a data set.

    Attributes:
        survey: The data set.
        findings: The findings, the most serious kinds first.
        notes: What a reader must know: a sample, cut splits, what was not looked at.
        unseen: Kinds that were not looked for.
    """

    survey: Survey
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    unseen: frozenset[FindingKind] = frozenset()

    @property
    def by_kind(self) -> dict[FindingKind, list[Finding]]:
        """The findings of each kind that has some, in their order."""
        found: dict[FindingKind, list[Finding]] = {}
        for one in self.findings:
            found.setdefault(one.kind, []).append(one)
        return found

    @property
    def clear(self) -> list[FindingKind]:
        """The kinds that were looked for and of which nothing was found."""
        return [kind for kind in FindingKind if kind not in self.by_kind and kind not in self.unseen]

    def sentence(self) -> str:
        """Summarise in one sentence."""
        counted = Counter(one.facts.severity for one in self.findings)
        counts = ", ".join(severity.counted(counted[severity]) for severity in Severity if counted[severity])
        n = len(self.findings)
        found = f"{n:,} finding{'s' * (n != 1)} ({counts})" if n else "No finding"
        return f"{found} in {self.survey.looked:,} images of {len(self.survey.counts):,} classes."

    def split_counts(self) -> dict[str, int]:
        """Images that prepare would use, by split."""
        counted = Counter(photo.split for photo in self.survey.kept)
        return {name: counted[name] for name in SPLITS}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded."""
        plain: dict[str, Any] = rounded(
            {
                "sentence": self.sentence(),
                "images": {
                    "listed": self.survey.listed,
                    "looked_at": self.survey.looked,
                    "left_out": len(self.survey.left_out),
                    **self.split_counts(),
                },
                "classes": len(self.survey.counts),
                "splits_of_the_data": list(self.survey.given),
                "notes": list(self.notes),
                "counts": {
                    str(kind): len(self.by_kind.get(kind, ())) for kind in FindingKind if kind not in self.unseen
                },
                "not_looked_for": sorted(self.unseen),
                "findings": [one.to_dict() for one in self.findings],
            },
            digits=4,
        )
        return plain

    def suspects(self) -> str:
        """The images in question as CSV, for a person who decides what to leave out.

        Images of validation and test are absent where a finding rests on a model's answer: choosing test images by a
        model's answer would make the test easier.
        """
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        for one in self.findings:
            for image in one.images if one.facts.of_images else ():
                if image.split == "train" or not one.facts.by_model:
                    reason = image.note or one.sentence
                    rows.writerow([image.path, image.sha256, reason, one.kind, image.class_name, image.split])
        return text.getvalue()


Doubts = Callable[[Sequence["Photo"]], list[Finding]]
"""Finds doubtful labels among the photos of train."""
_INSPECTIONS = 9


def diagnose(survey: Survey, doubts: Doubts | None, on_event: OnEvent) -> Diagnosis:
    """Run every inspection.

    Args:
        survey: The data set.
        doubts: Finds doubtful labels; None without features.
        on_event: Receives progress.
    """
    found = list(track(_inspect(survey, doubts), "inspect", _INSPECTIONS, "inspections", on_event))
    order = [kind for severity in Severity for kind in FindingKind if FACTS[kind].severity is severity]
    findings = sorted((one for inspection in found for one in inspection), key=lambda one: order.index(one.kind))
    unseen = frozenset() if doubts else frozenset({FindingKind.LABEL_SUSPECT})
    return Diagnosis(survey, tuple(findings), tuple(_notes(survey, labels=doubts is not None)), unseen)


def _inspect(survey: Survey, doubts: Doubts | None) -> Iterator[list[Finding]]:
    train = survey.of("train")
    yield set_aside(survey.left_out)
    yield copies(survey.decoded)
    yield near_copies(survey.kept)
    yield shoots(survey.kept)
    yield class_sizes(survey.counts, survey.kept, splits_known=survey.splits_known)
    yield shapes(survey.kept)
    yield shortcuts(train)
    yield split_drift(train, {name: survey.of(name) for name in SPLITS if name != "train"})
    yield doubts(train) if doubts else []


def _notes(survey: Survey, *, labels: bool) -> Iterator[str]:
    if survey.sampled:
        yield (
            f"A sample: {survey.looked:,} of {survey.listed:,} images were looked at, those whose paths have the "
            f"smallest digests. Copies of images outside of the sample are not found."
        )
    if missing := [name for name in SPLITS if name not in survey.given]:
        yield (
            f"The data have no split {' and '.join(name for name in missing if name != 'train') or 'train'}; what is "
            f"said of it is of the split that prepare cuts with the same seed and shares."
        )
    if crowded := crowded_hashes(survey.kept):
        yield (
            f"{crowded:,} images share a pattern with so many others that not all of them were compared for almost "
            f"equal ones."
        )
    if not labels:
        yield "Labels were not doubted: that needs the features of train (--features, as extract writes them)."
