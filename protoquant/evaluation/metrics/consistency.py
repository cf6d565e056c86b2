"""Consistency and stability of the parts that prototypes of a class look at (Huang et al.)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST = 10
"""Prototypes of each class that are measured: those of the largest weights."""
CONSISTENT = 0.8
"""A prototype is consistent if it looks at the same part in at least this share of its images."""
NOISE = 0.2
"""Standard deviation of the noise, in units of the normalised image."""
LARGEST_NOISE = 0.25
"""Noise is cut at this, up and down."""


@dataclass(frozen=True)
class Pairs:
    """Classes with their prototypes; a prototype of several classes is measured once for each.

    Attributes:
        label: The class of each pair (q), in ascending order.
        code: Its prototype (q), the largest weight of a class first.
    """

    label: Int[np.ndarray, " q"]
    code: Int[np.ndarray, " q"]

    def __len__(self) -> int:
        return len(self.label)

    def of(self, label: int) -> Int[np.ndarray, " r"]:
        """Positions of the pairs of a class."""
        return np.flatnonzero(self.label == label)


@dataclass(frozen=True)
class Looks:
    """The parts in the region around a prototype's maximum, in images of the class.

    Attributes:
        pair: Position of the pair (r).
        hits: The parts in the region (r, m).
        visible: The parts visible in the image (r, m).
        shaken: The parts in the region when noise is added to the image (r, m).
        random: The parts in the region around a cell drawn at random (r, m).
        q: Number of pairs.
    """

    pair: Int[np.ndarray, " r"]
    hits: Bool[np.ndarray, "r m"]
    visible: Bool[np.ndarray, "r m"]
    shaken: Bool[np.ndarray, "r m"]
    random: Bool[np.ndarray, "r m"]
    q: int

    @property
    def images(self) -> Int[np.ndarray, " q"]:
        """Images of each pair."""
        return np.bincount(self.pair, minlength=self.q)


def class_pairs(head: Float[np.ndarray, "c k"], most: int = MOST) -> Pairs:
    """The prototypes of each class that are measured: of the largest weights, all that are not 0 if they are fewer.

    Args:
        head: Non-negative weights.
        most: Prototypes of a class. Ties go to the lower code.
    """
    order = np.argsort(-head, axis=1, kind="stable")[:, :most]
    label, rank = np.nonzero(np.take_along_axis(head, order, axis=1) > 0)
    return Pairs(label, order[label, rank])


def first_maximum(maps: Float[np.ndarray, "b h w"], size: tuple[int, int]) -> Int[np.ndarray, "b 2"]:
    """Row and column of the first maximum of maps that are enlarged to the view by bicubic interpolation.

    Args:
        maps: A value for every cell.
        size: (height, width) of the view, in pixels.
    """
    rows, cols = (_enlargement(cells, side) for cells, side in zip(maps.shape[1:], size, strict=True))
    best = (rows @ maps.astype(np.float64) @ cols.T).reshape(len(maps), -1).argmax(axis=1)
    return np.stack(np.divmod(best, size[1]), axis=1)


@lru_cache(maxsize=8)
def _enlargement(cells: int, side: int) -> Float[np.ndarray, "s c"]:
    """The share of every cell in every pixel of a row; enlarging a map is a product with it from both sides."""
    single = torch.eye(cells, dtype=torch.float64)[None, :, :, None]
    shares = torch.nn.functional.interpolate(single, size=(side, 1), mode="bicubic", align_corners=False)
    return shares[0, :, :, 0].T.numpy()


def noise_of(shape: tuple[int, ...], rng: np.random.Generator) -> Float[Tensor, "*any"]:
    """The noise of the stability test, for a normalised image."""
    drawn = rng.normal(0.0, NOISE, shape).clip(-LARGEST_NOISE, LARGEST_NOISE)
    return torch.from_numpy(drawn.astype(np.float32))


def consistency(looks: Looks, hits: Bool[np.ndarray, "r m"]) -> tuple[Float[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """The largest share of a pair's images in which the region holds the same part, where it is visible.

    Args:
        looks: The images of each pair.
        hits: ``looks.hits``, or those of a baseline.

    Returns:
        The share of each pair and its part; NaN and -1 for a pair without images.

    Source:
        Huang et al., ICCV 2023 (consistency score), without its rounding down of points and boxes.
    """
    q, m = looks.q, hits.shape[1]
    held, seen = np.zeros((q, m), dtype=np.int64), np.zeros((q, m), dtype=np.int64)
    np.add.at(held, looks.pair, hits & looks.visible)
    np.add.at(seen, looks.pair, looks.visible)
    shares, none = held / np.maximum(seen, 1), looks.images == 0
    return np.where(none, np.nan, shares.max(axis=1)), np.where(none, -1, shares.argmax(axis=1))


def stability(looks: Looks) -> Float[np.ndarray, " q"]:
    """The share of a pair's images in which noise leaves all parts of the region as they were; NaN without images.

    Source:
        Huang et al., ICCV 2023 (stability score). A region without any part that stays so counts as stable.
    """
    same = (looks.hits == looks.shaken).all(axis=1)
    with np.errstate(invalid="ignore"):
        share: Float[np.ndarray, " q"] = np.bincount(looks.pair, same, minlength=looks.q) / looks.images
    return share
