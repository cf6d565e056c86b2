"""The validation answers of two models: classes that gained and lost, and images whose answer changed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from protoquant.analysis.diff.paired import named_answers
from protoquant.analysis.diff.prototypes import WeightChange
from protoquant.model.bundle import Bundle

Kind = Literal["gained", "lost", "other"]
_KINDS: tuple[Kind, ...] = ("lost", "gained", "other")


@dataclass(frozen=True)
class ImageChange:
    """An image that two models answer differently.

    Attributes:
        image_id: Relative POSIX path.
        class_name: Its class.
        before: Answer of the first model.
        after: Answer of the second.
        kind: gained (wrong, then right), lost (right, then wrong) or other (wrong, then otherwise wrong).
    """

    image_id: str
    class_name: str
    before: str
    after: str
    kind: Kind


@dataclass(frozen=True)
class ClassChange:
    """A class in two models, on the validation images of each.

    Attributes:
        name: Name of the class.
        n_before: Validation images of the first model; None where it does not know the class or keeps no answers.
        n_after: Validation images of the second model, likewise.
        right_before: Number of these images that the first model has right.
        right_after: Number of these images that the second model has right.
        gained: Images in common that only the second has right.
        lost: Images in common that only the first has right.
        weights: The weights that changed most, the largest change first.
    """

    name: str
    n_before: int | None
    n_after: int | None
    right_before: int | None
    right_after: int | None
    gained: int
    lost: int
    weights: tuple[WeightChange, ...]

    @property
    def accuracy_before(self) -> float | None:
        """Share of its images that the first model has right; None where there are none."""
        return self.right_before / self.n_before if self.n_before and self.right_before is not None else None

    @property
    def accuracy_after(self) -> float | None:
        """The same for the second model."""
        return self.right_after / self.n_after if self.n_after and self.right_after is not None else None

    @property
    def change(self) -> float:
        """Accuracy after - before; 0 unless both are known."""
        one, other = self.accuracy_before, self.accuracy_after
        return 0.0 if one is None or other is None else other - one


def image_changes(before: Bundle, after: Bundle) -> tuple[ImageChange, ...]:
    """List the validation images in common that the two answer differently: lost, then gained, then other ones.

    Empty where a bundle keeps no answers, or no image is in both with the same class.
    """
    if before.reference is None or after.reference is None:
        return ()
    one, other = named_answers(before), named_answers(after)
    keys = ["image_id", "class_name"]
    joined = one[[*keys, "answer"]].merge(other[[*keys, "answer"]], on=keys, suffixes=("_before", "_after"))
    joined = joined[joined["answer_before"] != joined["answer_after"]]
    columns = (joined[name].astype(str).tolist() for name in (*keys, "answer_before", "answer_after"))
    found = [
        ImageChange(image_id, name, first, second, _kind(name, first, second))
        for image_id, name, first, second in zip(*columns, strict=True)
    ]
    return tuple(sorted(found, key=lambda image: (_KINDS.index(image.kind), image.class_name, image.image_id)))


def class_changes(
    before: Bundle,
    after: Bundle,
    images: tuple[ImageChange, ...],
    weights: Mapping[str, tuple[WeightChange, ...]],
) -> tuple[ClassChange, ...]:
    """List all classes of both models: those that lost most first, those that gained most last."""
    counts = _counts(before), _counts(after)
    kinds = Counter((image.class_name, image.kind) for image in images)
    found = []
    for name in sorted({*before.classes, *after.classes}):
        (n, right), (n_after, right_after) = (side.get(name, (None, None)) for side in counts)
        changed = kinds[name, "gained"], kinds[name, "lost"]
        found.append(ClassChange(name, n, n_after, right, right_after, *changed, weights.get(name, ())))
    return tuple(sorted(found, key=lambda each: (each.change, each.gained - each.lost, each.name)))


def _counts(bundle: Bundle) -> Mapping[str, tuple[int | None, int | None]]:
    """Images and right answers by class."""
    if bundle.reference is None:
        return {}
    answers = named_answers(bundle)
    right = answers["class_name"][answers["answer"] == answers["class_name"]]
    held, hits = Counter(answers["class_name"]), Counter(right)
    return {name: (held[name], hits[name]) for name in bundle.classes}


def _kind(class_name: str, before: str, after: str) -> Kind:
    if after == class_name:
        return "gained"
    return "lost" if before == class_name else "other"
