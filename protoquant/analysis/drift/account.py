"""The drift analysis of new images: its numbers, and a summary in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from protoquant.analysis.drift.classes import MIX, ClassDrift, compare_classes, mix
from protoquant.analysis.drift.measure import Measured
from protoquant.analysis.drift.numbers import FEW, LEVEL, DriftVerdict, PrototypeDrift, compare, share_test
from protoquant.core.artifacts import rounded
from protoquant.core.errors import ArtifactError
from protoquant.model.answers_made import IN_SAMPLE, presence_made
from protoquant.model.bundle import Bundle
from protoquant.model.reference import Reference


@dataclass(frozen=True)
class Abstaining:
    """Images in which no known part is seen.

    Attributes:
        below: The model abstains if its largest logit is below this threshold; None: it never abstains.
        validation: Share of the validation images, in [0, 1].
        now: Share of the new images.
        p_value: p-value of the two-sided Fisher test that the two shares are the same.
    """

    below: float | None
    validation: float
    now: float
    p_value: float

    @property
    def more(self) -> bool:
        """Whether the model abstains more often than on validation, beyond chance."""
        return self.now > self.validation and self.p_value < LEVEL


@dataclass(frozen=True)
class DriftAnalysis:
    """The prototypes in new images compared with those in the training images.

    Attributes:
        measured: Measurements of the new images.
        sizes: Number of training and of validation images.
        parts: One for each prototype, in order.
        classes: One for each class, the largest loss first.
        abstaining: Images without a known part.
        mix: Total variation distance of the mix of predicted classes from that of validation, in [0, 1], and the
            p-value that the two mixes are the same.
        users: For each prototype the labels of the classes that use it, the largest weight first.
        names: Class names, index = label.
        in_sample: Whether the model was fitted on the validation images, which then show less change than new ones.
    """

    measured: Measured
    sizes: tuple[int, int]
    parts: tuple[PrototypeDrift, ...]
    classes: tuple[ClassDrift, ...]
    abstaining: Abstaining
    mix: tuple[float, float]
    users: Mapping[int, tuple[int, ...]]
    names: tuple[str, ...]
    in_sample: bool = False

    @property
    def few(self) -> bool:
        """Whether there are too few images to conclude much."""
        return self.measured.images < FEW

    @property
    def other_mix(self) -> bool:
        """Whether other classes are predicted than on validation, which by itself moves prototypes.

        False if the model abstains more often: predictions for images without a known part say nothing of their mix.
        """
        return self.mix[0] >= MIX and self.mix[1] < LEVEL and not self.abstaining.more

    @property
    def moved(self) -> tuple[PrototypeDrift, ...]:
        """The prototypes that are not steady, the largest change of their share first."""
        moved = (part for part in self.parts if part.verdict is not DriftVerdict.STEADY)
        return tuple(sorted(moved, key=lambda part: (-abs(part.now - part.train), part.prototype)))

    @property
    def verdicts(self) -> dict[DriftVerdict, int]:
        """Number of prototypes for each verdict, in the order of the verdicts."""
        counted = Counter(part.verdict for part in self.parts)
        return {verdict: counted[verdict] for verdict in DriftVerdict}

    def sentence(self) -> str:
        """Summarise the analysis in one sentence."""
        few = ", few enough that little can be told" if self.few else ""
        parts = _parts(self.verdicts, len(self.parts))
        hit = [self.names[one.label] for one in self.classes if one.hit]
        classes = f"; hit most is {hit[0]}" if hit else ""
        beyond = ", more than chance explains" if self.abstaining.more else ""
        shares = (
            f"{100 * self.abstaining.now:.1f} % of them{beyond} (validation {100 * self.abstaining.validation:.1f} %)"
        )
        abstains = "" if self.abstaining.below is None else f"; no known part is seen in {shares}"
        inside = "; the model was fitted on validation too, so small changes may be none" if self.in_sample else ""
        other = "; the mix of predicted classes is another, which moves parts by itself" if self.other_mix else ""
        return f"In {self.measured.images:,} new images{few}: {parts}{classes}{abstains}{other}{inside}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded."""
        by_class = [
            {
                **asdict(one),
                "class_name": self.names[one.label],
                "by": [{"prototype": code, "loss": loss} for code, loss in one.by],
            }
            for one in self.classes
        ]
        bad = [{"image": one.name, "error": str(one)} for one in self.measured.bad]
        plain: dict[str, Any] = rounded(
            {
                "sentence": self.sentence(),
                "images": self.measured.images,
                "train_images": self.sizes[0],
                "validation_images": self.sizes[1],
                "few": self.few,
                "unreadable": bad,
                "verdicts": {str(verdict): count for verdict, count in self.verdicts.items()},
                "abstaining": asdict(self.abstaining),
                "class_mix": {"distance": self.mix[0], "p_value": self.mix[1], "another": self.other_mix},
                "prototypes": [asdict(part) | {"verdict": str(part.verdict)} for part in self.parts],
                "classes": by_class,
            }
        )
        return plain


def reference_of(bundle: Bundle) -> Reference:
    """The reference that a bundle keeps of its own images.

    Raises:
        ArtifactError: The bundle is of an older version that kept no reference.
    """
    if bundle.reference is None:
        raise ArtifactError(
            "a bundle of an older version keeps no presence to compare with; run train again (dvc repro)"
        )
    return bundle.reference


def account(bundle: Bundle, measured: Measured) -> DriftAnalysis:
    """Compare the measurements of new images with the model's reference.

    Args:
        bundle: The model.
        measured: Measurements of the new images, of which at least one could be read.

    Raises:
        ArtifactError: The bundle is of an older version that kept no reference.
    """
    reference = reference_of(bundle)
    parts = compare(reference.prototypes, {**reference.presence, "now": measured.counts})
    answers = reference.answers
    predicted = np.bincount(answers["predicted"], minlength=len(bundle.classes))
    classes = compare_classes(parts, bundle.head.cpu().double().numpy(), predicted, measured.predicted)
    below = reference.abstain_below
    before = 0 if below is None else int((answers["logit"] < below).sum())
    n, of_validation = measured.images, len(answers)
    sizes = (int(reference.presence["train"][0].sum()), of_validation)
    p_value = share_test(measured.abstentions, n, before, of_validation)
    abstaining = Abstaining(below, before / of_validation, measured.abstentions / n, p_value)
    users = {code: _users(bundle.head[:, code].tolist()) for code in reference.prototypes}
    return DriftAnalysis(
        measured=measured,
        sizes=sizes,
        parts=parts,
        classes=classes,
        abstaining=abstaining,
        mix=mix(predicted, measured.predicted),
        users=users,
        names=bundle.classes,
        in_sample=presence_made(bundle.metrics) == IN_SAMPLE,
    )


def _users(weights: list[float]) -> tuple[int, ...]:
    order = sorted(range(len(weights)), key=lambda label: (-weights[label], label))
    return tuple(label for label in order if weights[label] > 0)


def _parts(verdicts: Mapping[DriftVerdict, int], prototypes: int) -> str:
    """The number of prototypes that moved, in words."""
    said = []
    for verdict, count in verdicts.items():
        if count and verdict is not DriftVerdict.STEADY:
            are = "" if verdict in (DriftVerdict.VANISHED, DriftVerdict.APPEARED) else "is " if count == 1 else "are "
            said.append(f"{count:,} {are}{verdict}")
    if not said:
        return f"none of {prototypes:,} prototypes moved beyond what validation images show"
    *first, last = said
    return f"of {prototypes:,} prototypes {', '.join(first)}{' and ' if first else ''}{last}"
