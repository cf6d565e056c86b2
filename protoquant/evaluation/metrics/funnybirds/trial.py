"""What the protocols look at: the answers of a model to one image without some of its parts, and an explanation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from protoquant.core.errors import ShapeError

FELT = 0.05
"""Share of a class score that a removal must take away to be felt."""


@dataclass(frozen=True)
class Trial:
    """A model's class scores for one image and for the same image without some of its parts or one of its objects.

    Attributes:
        label: True class.
        logits: Class scores of the image itself (c).
        kept: Class scores where only a set of parts is kept (2^p, c), in the order of ``set_number``.
        without_object: Class scores without each object of the background (o, c); o may be 0.

    Raises:
        ShapeError: ``kept`` does not have a row for every set of some number of parts.
    """

    label: int
    logits: Float[np.ndarray, " c"]
    kept: Float[np.ndarray, "sets c"]
    without_object: Float[np.ndarray, "o c"]

    def __post_init__(self) -> None:
        sets = len(self.kept)
        if sets < 2 or sets & (sets - 1):
            raise ShapeError(f"kept must have a row for each of the 2^p sets of parts, got {sets} rows")

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.kept).bit_length() - 1

    @property
    def predicted(self) -> int:
        """The class of the image itself; the first on a tie."""
        return int(np.argmax(self.logits))

    def keeping(self, parts: Bool[np.ndarray, "*sets p"]) -> Float[np.ndarray, "*sets c"]:
        """Class scores where only these parts are kept."""
        scores: Float[np.ndarray, "*sets c"] = self.kept[set_number(parts)]
        return scores

    @property
    def without_part(self) -> Float[np.ndarray, "p c"]:
        """Class scores without each part."""
        return self.keeping(~np.eye(self.parts, dtype=bool))


@dataclass(frozen=True)
class Importance:
    """How much of its evidence for each class an explanation finds in every part and object of one image.

    Attributes:
        parts: Evidence inside each part (p, c).
        objects: Evidence inside each object of the background (o, c).
        total: Evidence in the whole image (c).
    """

    parts: Float[np.ndarray, "p c"]
    objects: Float[np.ndarray, "o c"]
    total: Float[np.ndarray, " c"]

    def important_parts(
        self, label: int, thresholds: Float[np.ndarray, " t"], *, with_objects: bool = False
    ) -> Bool[np.ndarray, "t q"]:
        """Which parts hold more than a share of all evidence for a class.

        Where there is no evidence in all, or less than none, no part is important: multiplying with a negative total
        would turn the order around.

        Args:
            label: The class.
            thresholds: Shares of the evidence.
            with_objects: Whether the objects follow the parts.
        """
        held = np.concatenate([self.parts, self.objects])[:, label] if with_objects else self.parts[:, label]
        total = self.total[label]
        important: Bool[np.ndarray, "t q"] = (held > thresholds[:, None] * total) & (total > 0)
        return important


def set_number(parts: Bool[np.ndarray, "*sets p"]) -> np.ndarray:
    """Number of a set of parts: part i counts 2^i."""
    number: np.ndarray = parts @ (1 << np.arange(parts.shape[-1]))
    return number


def felt(before: float, after: Float[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    """Which removals lower a class score by at least a twentieth of its size; the others are irrelevant to it."""
    lowered: Bool[np.ndarray, " m"] = (before - after >= FELT * abs(before)) & (after < before)
    return lowered
