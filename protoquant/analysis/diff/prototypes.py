"""The prototypes of two models side by side, with the classes that each speaks for."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Literal

from protoquant.analysis.diff.matching import Matching
from protoquant.model.bundle import Bundle


@dataclass(frozen=True)
class Weight:
    """The weight of a prototype for a class, >= 0."""

    class_name: str
    weight: float


@dataclass(frozen=True)
class PrototypeSummary:
    """A prototype of one model.

    Attributes:
        code: Its code.
        speaks_for: The classes with a weight, the heaviest first.
        image_id: Image of its nearest training patch.
        class_name: Class of that image.
        cosine: Cosine with that patch.
        seen: Share of the validation images in which it is seen; None in bundles of older versions.
    """

    code: int
    speaks_for: tuple[Weight, ...]
    image_id: str
    class_name: str
    cosine: float
    seen: float | None


@dataclass(frozen=True)
class PrototypeChange:
    """The change of a prototype between two models.

    Attributes:
        verdict: kept, moved, new or lost.
        similarity: Similarity of the pair by the measure of the matching; None for new and lost prototypes.
        before: The prototype in the first model; None where it is new.
        after: The prototype in the second model; None where it is lost.
    """

    verdict: Literal["kept", "moved", "new", "lost"]
    similarity: float | None
    before: PrototypeSummary | None
    after: PrototypeSummary | None


@dataclass(frozen=True)
class WeightChange:
    """The weight of a prototype for a class in two models.

    Attributes:
        before_code: Code in the first model; None where the prototype is new.
        after_code: Code in the second; None where it is lost.
        before: Weight in the first model; 0 where it does not speak for the class.
        after: Weight in the second model, likewise.
    """

    before_code: int | None
    after_code: int | None
    before: float
    after: float

    @property
    def change(self) -> float:
        """After - before."""
        return self.after - self.before


def prototype_changes(before: Bundle, after: Bundle, matching: Matching) -> tuple[PrototypeChange, ...]:
    """List the change of every prototype.

    Moved prototypes come first, the farthest first, then new and lost ones by weight, then those that are kept.
    """
    one, other = _prototypes(before), _prototypes(after)
    pairs = sorted(matching.pairs, key=lambda pair: (pair.verdict == "kept", pair.similarity, pair.before))
    paired = [PrototypeChange(pair.verdict, pair.similarity, one[pair.before], other[pair.after]) for pair in pairs]
    moved = [change for change in paired if change.verdict == "moved"]
    new = [PrototypeChange("new", None, None, found) for found in _heaviest(other[code] for code in matching.new)]
    lost = [PrototypeChange("lost", None, found, None) for found in _heaviest(one[code] for code in matching.lost)]
    return (*moved, *new, *lost, *paired[len(moved) :])


def weight_changes(changes: Iterable[PrototypeChange], most: int) -> dict[str, tuple[WeightChange, ...]]:
    """The weights that changed most, by class.

    Args:
        changes: Changes of all prototypes.
        most: Maximum number of weights for each class.

    Returns:
        The changed weights of each class, the largest change first.
    """
    found: dict[str, list[WeightChange]] = defaultdict(list)
    for change in changes:
        one, other = _weights(change.before), _weights(change.after)
        codes = [None if side is None else side.code for side in (change.before, change.after)]
        for name in sorted(one.keys() | other.keys()):
            weight = WeightChange(codes[0], codes[1], one.get(name, 0.0), other.get(name, 0.0))
            if weight.change:
                found[name].append(weight)
    return {name: tuple(nsmallest(most, held, key=_size)) for name, held in sorted(found.items())}


def _size(weight: WeightChange) -> tuple[float, int, int]:
    """Sort key: the largest change first, then by code."""
    codes = [-1 if code is None else code for code in (weight.before_code, weight.after_code)]
    return -abs(weight.change), codes[0], codes[1]


def _weights(prototype: PrototypeSummary | None) -> dict[str, float]:
    return {} if prototype is None else {each.class_name: each.weight for each in prototype.speaks_for}


def _heaviest(prototypes: Iterable[PrototypeSummary]) -> list[PrototypeSummary]:
    return sorted(prototypes, key=lambda each: (-each.speaks_for[0].weight, each.code))


def _prototypes(bundle: Bundle) -> dict[int, PrototypeSummary]:
    codes = bundle.prototypes.tolist()
    seen = None if bundle.reference is None else bundle.reference.seen("validation").tolist()
    weights = bundle.head.cpu()[:, bundle.prototypes].T.tolist()
    table = bundle.provenance[bundle.provenance["rank"] == 0]
    columns = (table[name] for name in ("code", "image_id", "label", "cosine"))
    nearest = {
        int(code): (str(image), int(label), float(cos)) for code, image, label, cos in zip(*columns, strict=True)
    }
    found = {}
    for place, code in enumerate(codes):
        image_id, label, cosine = nearest[code]
        of_class = sorted((-weight, label) for label, weight in enumerate(weights[place]) if weight > 0)
        found[code] = PrototypeSummary(
            code=code,
            speaks_for=tuple(Weight(bundle.classes[label], -minus) for minus, label in of_class),
            image_id=image_id,
            class_name=bundle.classes[label],
            cosine=cosine,
            seen=None if seen is None else seen[place],
        )
    return found
