"""The one list of metric groups, which settings, help texts and evaluate use.

A group is a module of this folder, named like its entry, with a function ``measure``; it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

if TYPE_CHECKING:
    from protoquant.data.parts.table import PartTable
    from protoquant.evaluation.subject import GroupResult, Subject

Need = Literal["parts", "part masks", "interventions"]
"""What the data must have."""


@dataclass(frozen=True)
class MetricGroup:
    """Facts about a group that are known before it is imported.

    Attributes:
        meaning: What it measures, as a phrase for help texts.
        splits: The splits it is measured on. Numbers of test are shown; those of validation may decide a promotion.
        needs: What the data must have; None: images alone.
    """

    meaning: str
    splits: tuple[str, ...] = ("test",)
    needs: Need | None = None


GROUPS: Mapping[str, MetricGroup] = {
    "sizes": MetricGroup("sizes and sparsity as public code counts them"),
    "purity": MetricGroup(
        "how often a prototype's patches hold the same part", ("test", "validation", "train"), "parts"
    ),
    "evidence": MetricGroup("evidence beside the object", ("test", "validation"), "part masks"),
    "consistency": MetricGroup("same part around a prototype's maximum, also under noise", needs="parts"),
    "distinctness": MetricGroup("near-duplicate prototypes"),
    "stability": MetricGroup("what stays under JPEG, blur, shift and noise", ("test", "validation")),
    "deletion": MetricGroup("the answer without the prototypes it names, and with them put back"),
    "topk": MetricGroup("accuracy with the k largest weights of each class"),
    "misalignment": MetricGroup("prototypes when pixels outside their region change; see misalignment_images"),
    "corruptions": MetricGroup(
        "answers and explanations under noise, blur and other corruptions; see corruption_images"
    ),
    "funnybirds": MetricGroup("whether explanations name the parts on which an answer depends", needs="interventions"),
}

if TYPE_CHECKING:
    GroupName = str
else:
    GroupName = Literal[tuple(GROUPS)]
"""The type of a setting that names a group."""


class Measure(Protocol):
    """The function ``measure`` of a group's module."""

    def __call__(self, subject: Subject, split: str) -> GroupResult:
        """Measure the subject on a split, changing nothing."""


def group(name: str) -> Measure:
    """Import a group's function."""
    return cast("Measure", import_module(f"{__package__}.{name}").measure)


def lacking(name: str, parts: PartTable) -> str | None:
    """What a group needs and the data does not have; None where it has all."""
    need = GROUPS[name].needs
    has: Mapping[Need | None, bool] = {
        None: True,
        "parts": parts.schema.form is not None,
        "part masks": parts.schema.form == "masks",
        "interventions": parts.schema.form is not None and not parts.split("test").interventions.empty,
    }
    return None if has[need] else need if need != "interventions" else "interventions (prepare.interventions)"


def meanings() -> str:
    """Every group with what it measures, in one line."""
    return ", ".join(f"{name} ({entry.meaning})" for name, entry in GROUPS.items())
