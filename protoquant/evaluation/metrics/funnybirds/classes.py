"""Classes as combinations of parts: which parts tell a class from all others, and which it shares with another."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Int

from protoquant.core.errors import ShapeError

SHARED = 2
"""Parts that each class of a pair shares with the class in question; of five parts, three differ."""


@dataclass(frozen=True)
class Relative:
    """Another class, and the parts that it shares with the class in question.

    Attributes:
        label: The other class.
        shared: Whether each part has the same variant in both classes (p).
    """

    label: int
    shared: Bool[np.ndarray, " p"]


@dataclass(frozen=True)
class ClassParts:
    """The variant of every part in every class.

    Attributes:
        values: Number of the variant (c, p); numbers of different parts have nothing to do with each other.

    Raises:
        ShapeError: ``values`` has another shape, or no part.
    """

    values: Int[np.ndarray, "c p"]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] < 1:
            raise ShapeError(f"class parts must have shape (c, p) with p >= 1, got {self.values.shape}")

    @cached_property
    def sufficient(self) -> tuple[Bool[np.ndarray, "s p"], ...]:
        """For each class its minimal sufficient part sets, smallest first; none where another class has all its parts.

        A set of parts is sufficient if no other class has the same variants of all of them, and minimal if no proper
        subset is sufficient.
        """
        return tuple(self._sufficient(label) for label in range(len(self.values)))

    @cached_property
    def pairs(self) -> tuple[tuple[Relative, Relative] | None, ...]:
        """For each class the first two others, in order of classes, that share two parts with it and no part twice.

        None where no two classes do; public code takes the last two that it looked at, whose parts overlap.
        """
        return tuple(self._pair(label) for label in range(len(self.values)))

    def _sufficient(self, label: int) -> Bool[np.ndarray, "s p"]:
        others = np.delete(self.values == self.values[label], label, axis=0)
        parts, found = self.values.shape[1], list[frozenset[int]]()
        for size in range(1, parts + 1):
            for chosen in combinations(range(parts), size):
                if not others[:, chosen].all(axis=1).any() and not any(one <= set(chosen) for one in found):
                    found.append(frozenset(chosen))
        return np.array([[part in one for part in range(parts)] for one in found], dtype=bool).reshape(-1, parts)

    def _pair(self, label: int) -> tuple[Relative, Relative] | None:
        same = self.values == self.values[label]
        near = [int(other) for other in np.flatnonzero(same.sum(axis=1) == SHARED) if other != label]
        pairs = combinations([Relative(other, same[other]) for other in near], 2)
        return next(((one, two) for one, two in pairs if not (one.shared & two.shared).any()), None)
