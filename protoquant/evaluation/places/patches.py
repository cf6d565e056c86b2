"""Patches, that is cells of images, which stand for prototypes: the best, the sure, or cells drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

TOP = 10
"""Images of each prototype that purity looks at."""
SURE = 0.5
"""Presence above which an image counts as one that shows the prototype."""


@dataclass(frozen=True)
class Patches:
    """Patches of p prototypes; each may have any number of them.

    Attributes:
        owner: The prototype of each patch (r), in [0, p).
        image: Its image (r), a position.
        cell: Its cell (r), counted row by row.
        p: Number of prototypes.
    """

    owner: Int[np.ndarray, " r"]
    image: Int[np.ndarray, " r"]
    cell: Int[np.ndarray, " r"]
    p: int

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def counts(self) -> Int[np.ndarray, " p"]:
        """Patches of each prototype."""
        return np.bincount(self.owner, minlength=self.p)

    def random_cells(self, t: int, rng: np.random.Generator) -> Patches:
        """The same images, each with a cell drawn at random instead.

        Args:
            t: Cells of an image.
            rng: The only source of randomness.
        """
        return replace(self, cell=rng.integers(t, size=len(self)))

    def random_patches(self, n: int, t: int, rng: np.random.Generator) -> Patches:
        """As many patches drawn at random from all images.

        Args:
            n: Number of images.
            t: Cells of an image.
            rng: The only source of randomness.
        """
        size = len(self)
        image = rng.integers(n, size=size) if size else np.zeros(0, dtype=np.int64)
        return replace(self, image=image, cell=rng.integers(t, size=size))


def top_patches(scores: Float[np.ndarray, "n p"], cells: Int[np.ndarray, "n p"], count: int = TOP) -> Patches:
    """The images where each prototype is most present, with its cell there.

    Args:
        scores: Presence of every prototype.
        cells: The cell of that presence.
        count: Images of each prototype; all if there are fewer. Ties go to the image that comes first.
    """
    n, p = scores.shape
    best = np.argsort(-scores, axis=0, kind="stable")[:count].T
    owner = np.repeat(np.arange(p), min(count, n))
    return Patches(owner, best.ravel(), cells[best.ravel(), owner], p)


def sure_patches(scores: Float[np.ndarray, "n p"], cells: Int[np.ndarray, "n p"], above: float = SURE) -> Patches:
    """Every image where a prototype is more present than a threshold; a prototype may have none."""
    owner, image = np.nonzero((scores > above).T)
    return Patches(owner, image, cells[image, owner], scores.shape[1])
