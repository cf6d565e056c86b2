"""The diff of two models: the changes of numbers, settings, classes, images and prototypes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from protoquant.analysis.diff.agreement import Agreement, agreement
from protoquant.analysis.diff.answers import ClassChange, ImageChange, class_changes, image_changes
from protoquant.analysis.diff.matching import Matching, match
from protoquant.analysis.diff.numbers import Number, Setting, measured_on_test, numbers_of, settings_of
from protoquant.analysis.diff.paired import Paired, paired
from protoquant.analysis.diff.prototypes import PrototypeChange, prototype_changes, weight_changes
from protoquant.core.artifacts import rounded
from protoquant.core.errors import DataError
from protoquant.model.bundle import Bundle

WEIGHTS = 3
"""Maximum number of changed weights listed for each class."""


@dataclass(frozen=True)
class Mcnemar:
    """The McNemar test of two models on the same images.

    Attributes:
        n: Number of images.
        gained: Images that only the second has right.
        lost: Images that only the first has right.
        p_value: p-value of the exact test that both are right equally often.
    """

    n: int
    gained: int
    lost: int
    p_value: float


@dataclass(frozen=True)
class Diff:
    """Two models side by side.

    Attributes:
        names: Names of the two models.
        digests: Digests of their bundles; None for a bundle that was never written.
        paired: The test on common validation images; None where it is not possible, and ``notes`` say why.
        notes: Whole sentences on each comparison that was not possible, and why.
        numbers: Accuracy and the like.
        test_numbers: On test images, where the caller gave them; they decide nothing.
        settings: Params keys that differ.
        added: Classes that only the second model knows.
        removed: Classes that only the first knows.
        classes: All classes, those that lost most first.
        images: Images that the two answer differently.
        measure: Measure by which prototypes are matched: cosine, patches or none.
        agreement: How far the prototypes agree, matched one to one; None where their codes cannot be compared.
        prototypes: The change of each prototype.
    """

    names: tuple[str, str]
    digests: tuple[str | None, str | None]
    paired: Mcnemar | None
    notes: tuple[str, ...]
    numbers: tuple[Number, ...]
    test_numbers: tuple[Number, ...]
    settings: tuple[Setting, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    classes: tuple[ClassChange, ...]
    images: tuple[ImageChange, ...]
    measure: str
    agreement: Agreement | None
    prototypes: tuple[PrototypeChange, ...]

    def verdicts(self) -> dict[str, int]:
        """Number of prototypes that are kept, moved, new and lost."""
        found = [change.verdict for change in self.prototypes]
        return {name: found.count(name) for name in ("kept", "moved", "new", "lost")}

    @property
    def same(self) -> bool:
        """Whether nothing differs: no number, setting, class, answer, prototype or weight."""
        counts = self.verdicts()
        moved = any(number.before != number.after for number in (*self.numbers, *self.test_numbers))
        weights = any(each.weights for each in self.classes)
        others = self.settings or self.added or self.removed or self.images or self.measure != "cosine"
        return not (moved or weights or others or counts["moved"] or counts["new"] or counts["lost"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded."""
        plain: dict[str, Any] = rounded(asdict(self))
        for number, row in zip(self.numbers, plain["numbers"], strict=True):
            row["change"] = rounded(number.change)
        for each, row in zip(self.classes, plain["classes"], strict=True):
            row.update(rounded({"accuracy_before": each.accuracy_before, "accuracy_after": each.accuracy_after}))
        return {"same": self.same, "verdicts": self.verdicts(), **plain}


def compare(
    before: Bundle,
    after: Bundle,
    *,
    names: tuple[str, str] = ("before", "after"),
    test: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
) -> Diff:
    """Compare two models as far as possible; notes say what cannot be compared.

    Args:
        before: The first model, the present champion for instance.
        after: The second.
        names: Names of the two models.
        test: Numbers of both on test images by name, shown beside the others.
    """
    both, notes = _paired(before, after)
    matching = match(before, after)
    if matching.note:
        notes.append(_sentence(matching.note))
    prototypes = prototype_changes(before, after, matching)
    images = image_changes(before, after)
    if both is None and images:
        notes.append("Changed answers are those of the images that both have in common.")
    return Diff(
        names=names,
        digests=(_digest(before), _digest(after)),
        paired=None if both is None else Mcnemar(both.n, both.gained, both.lost, both.p_value),
        notes=tuple(notes),
        numbers=numbers_of(before, after, both),
        test_numbers=() if test is None else measured_on_test(*test),
        settings=settings_of(before, after),
        added=tuple(name for name in after.classes if name not in set(before.classes)),
        removed=tuple(name for name in before.classes if name not in set(after.classes)),
        classes=class_changes(before, after, images, _weights(prototypes, matching)),
        images=images,
        measure=matching.measure,
        agreement=agreement(before, after),
        prototypes=prototypes,
    )


def _weights(prototypes: tuple[PrototypeChange, ...], matching: Matching) -> Mapping[str, Any]:
    """Changes of weights by class; none where prototypes were not matched, so that weights have no counterpart."""
    return {} if matching.measure == "none" else weight_changes(prototypes, WEIGHTS)


def _paired(before: Bundle, after: Bundle) -> tuple[Paired | None, list[str]]:
    try:
        return paired(before, after), []
    except DataError as error:
        text = str(error).partition(";")[0]
        return None, [f"{_sentence(text)[:-1]}: the numbers below are of different images, without intervals."]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _digest(bundle: Bundle) -> str | None:
    return None if bundle.path is None else bundle.digest
