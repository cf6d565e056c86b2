"""What the doctor can find, and the record of one finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protoquant.doctor.photo import Photo


class Severity(StrEnum):
    """How much a finding matters, the most first."""

    SERIOUS = "serious"
    WARNING = "warning"
    HINT = "hint"

    def counted(self, n: int) -> str:
        """So many findings, such as ``3 serious`` or ``2 hints``."""
        return f"{n:,} {self}{'s' * (n != 1 and self is not Severity.SERIOUS)}"


class FindingKind(StrEnum):
    """The kinds of findings, in the order of the page."""

    SET_ASIDE = "set_aside"
    DUPLICATE = "duplicate"
    DUPLICATE_ACROSS_SPLITS = "duplicate_across_splits"
    LABEL_CONFLICT = "label_conflict"
    NEAR_DUPLICATE = "near_duplicate"
    NEAR_DUPLICATE_ACROSS_SPLITS = "near_duplicate_across_splits"
    SHOOT_ACROSS_SPLITS = "shoot_across_splits"
    TINY_CLASS = "tiny_class"
    CLASS_MISSING = "class_missing"
    IMBALANCE = "imbalance"
    LOW_RESOLUTION = "low_resolution"
    EXTREME_ASPECT = "extreme_aspect"
    SIZE_OUTLIER = "size_outlier"
    ODD_MODE = "odd_mode"
    LABEL_SUSPECT = "label_suspect"
    SHORTCUT = "shortcut"
    SPLIT_DRIFT = "split_drift"


@dataclass(frozen=True)
class KindFacts:
    """What holds for every finding of a kind.

    Attributes:
        title: Heading on the page.
        severity: How much it matters.
        meaning: What it is and what to do, for a reader who never heard of it.
        of_images: Whether each image of a finding is itself in question; else they are examples.
        by_model: Whether a finding rests on a model's answer, so that no image of validation or test may be named.
    """

    title: str
    severity: Severity
    meaning: str
    of_images: bool = True
    by_model: bool = False


FACTS: Mapping[FindingKind, KindFacts] = {
    FindingKind.SET_ASIDE: KindFacts(
        "Left out by prepare",
        Severity.WARNING,
        "Files that prepare would not use, with its own reason. Repair, rename or remove them.",
    ),
    FindingKind.DUPLICATE: KindFacts(
        "Same pixels twice in a split",
        Severity.WARNING,
        "Prepare keeps one image of each group, so nothing breaks; the data hold fewer photos than files.",
    ),
    FindingKind.DUPLICATE_ACROSS_SPLITS: KindFacts(
        "Same pixels in two splits",
        Severity.SERIOUS,
        "A model would be tested on what it learned. Prepare keeps the copy in test, then that in validation.",
    ),
    FindingKind.LABEL_CONFLICT: KindFacts(
        "Same pixels, two labels",
        Severity.SERIOUS,
        "At least one label is wrong. Prepare leaves such images out, except those of a published test split.",
    ),
    FindingKind.NEAR_DUPLICATE: KindFacts(
        "Almost the same image twice in a split",
        Severity.HINT,
        "One picture saved again, resized or slightly changed. In train it counts twice; in validation and test the "
        "numbers look more certain than they are.",
    ),
    FindingKind.NEAR_DUPLICATE_ACROSS_SPLITS: KindFacts(
        "Almost the same image in two splits",
        Severity.SERIOUS,
        "A test on such images asks for memory. Keep the copies of a picture in one split.",
    ),
    FindingKind.SHOOT_ACROSS_SPLITS: KindFacts(
        "One shoot spread over splits",
        Severity.WARNING,
        "Frames of one scene, taken moments apart. Accuracy on them says little of new scenes; cut splits by shoot.",
    ),
    FindingKind.TINY_CLASS: KindFacts(
        "Classes with few train images",
        Severity.WARNING,
        "Too few to learn parts that hold in new photos. Add images, merge the class or drop it.",
        of_images=False,
    ),
    FindingKind.CLASS_MISSING: KindFacts(
        "Classes that a split lacks",
        Severity.WARNING,
        "Nothing can be said of such a class in that split; without a train image, prepare refuses the data.",
        of_images=False,
    ),
    FindingKind.IMBALANCE: KindFacts(
        "Unequal classes",
        Severity.HINT,
        "Accuracy is then mostly that of the large classes; read the balanced accuracy.",
        of_images=False,
    ),
    FindingKind.LOW_RESOLUTION: KindFacts(
        "Smaller than a backbone's input",
        Severity.HINT,
        "The shorter side is below 224 pixels, so the image is enlarged; fine parts are not there to be seen.",
    ),
    FindingKind.EXTREME_ASPECT: KindFacts(
        "Very long or very wide",
        Severity.HINT,
        "The longer side is over three times the shorter one: what is cut to a square loses much of the picture.",
    ),
    FindingKind.SIZE_OUTLIER: KindFacts(
        "Sizes unlike the others",
        Severity.HINT,
        "Far larger or smaller than nearly all images; often from another source.",
    ),
    FindingKind.ODD_MODE: KindFacts(
        "Colour modes of a few",
        Severity.HINT,
        "Grey, palette, transparent or printing colours among others: often scans, drawings or another source.",
    ),
    FindingKind.LABEL_SUSPECT: KindFacts(
        "Labels to look at",
        Severity.HINT,
        "A linear probe that never saw the image is confident of another class. Such an image is mislabelled, holds "
        "both, or is hard. Only a person can tell; train images alone are judged.",
        by_model=True,
    ),
    FindingKind.SHORTCUT: KindFacts(
        "Classes told without the object",
        Severity.WARNING,
        "A small classifier that sees only this tells the classes. It may be legitimate, as water around ducks is; it "
        "may also be a watermark or one camera per class, and a model can then be right for the wrong reason.",
        of_images=False,
        by_model=True,
    ),
    FindingKind.SPLIT_DRIFT: KindFacts(
        "Splits that differ",
        Severity.WARNING,
        "Train and this split differ in a property that has nothing to do with the classes. Accuracy then measures the "
        "difference too.",
        of_images=False,
    ),
}


@dataclass(frozen=True)
class FoundImage:
    """An image of a finding.

    Attributes:
        path: POSIX path relative to the folder of the images.
        sha256: Digest of the file's bytes; None if it cannot be read.
        split: train, validation or test; None if it has none yet.
        class_name: Its class; None if it has none.
        note: What is said of this image alone.
    """

    path: str
    sha256: str | None
    split: str | None
    class_name: str | None
    note: str = ""

    @classmethod
    def of(cls, photo: Photo, note: str = "") -> FoundImage:
        """The image of a photo."""
        return cls(photo.path, photo.sha256, photo.split, photo.class_name, note)

    def to_dict(self) -> dict[str, str | None]:
        """Plain values for JSON."""
        plain = {"path": self.path, "sha256": self.sha256, "split": self.split, "class": self.class_name}
        return plain | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        kind: The kind.
        sentence: What was found, in one sentence without a full stop.
        images: The images, or examples (see ``KindFacts.of_images``).
        number: The measurement behind it; its unit is in the sentence.
        chance: What the number would be by chance, where that makes sense.
    """

    kind: FindingKind
    sentence: str
    images: tuple[FoundImage, ...]
    number: float | None = None
    chance: float | None = None

    @property
    def facts(self) -> KindFacts:
        """What holds for its kind."""
        return FACTS[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": str(self.kind),
            "severity": str(self.facts.severity),
            "sentence": self.sentence,
            "images": [image.to_dict() for image in self.images],
            "images_are": "suspects" if self.facts.of_images else "examples",
            "number": self.number,
            "chance": self.chance,
        }


def found_images(photos: Iterable[Photo]) -> tuple[FoundImage, ...]:
    """The images of photos, in their order."""
    return tuple(map(FoundImage.of, photos))


def splits_of(images: Iterable[Photo | FoundImage]) -> list[str]:
    """The splits of images, train first; an image without a split counts as none."""
    there = {image.split for image in images}
    return [split for split in ("train", "validation", "test") if split in there]
