"""The contributions behind every account of a class score: answers, explanations, contributions.parquet, the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from protoquant.features.backbone.preprocessing import Box

if TYPE_CHECKING:  # torch is not imported at run time, so that tables and signatures can be declared without it
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The contribution of one prototype to a class score.

    Attributes:
        code: Number of the prototype.
        score: Its presence in the image, in [0, 1].
        weight: Its head weight for the class, > 0.
        contribution: score * weight.
        cell: (row, col) of the grid where the presence was found.
    """

    code: int
    score: float
    weight: float
    contribution: float
    cell: tuple[int, int]

    @property
    def row(self) -> int:
        """Row of the cell."""
        return self.cell[0]

    @property
    def col(self) -> int:
        """Column of the cell."""
        return self.cell[1]


@dataclass(frozen=True)
class PlacedPart(Part):
    """A part with its box in the original image.

    Attributes:
        box: The region around the cell (``peak_region``) as (left, top, right, bottom), in pixels of the original
            image.
    """

    box: Box


@dataclass(frozen=True)
class Contributions:
    """All contributions of an image to a class, as columns: largest first, ties by code.

    Attributes:
        code: The prototypes of the class (m).
        score: Presence of each in the image (m), in [0, 1].
        weight: Its head weight for the class (m), > 0.
        contribution: score * weight (m); their sum is the logit.
        row: Row of the grid cell where the presence was found (m).
        col: Column of that cell (m).
    """

    code: Int64[np.ndarray, " m"]
    score: Float64[np.ndarray, " m"]
    weight: Float64[np.ndarray, " m"]
    contribution: Float64[np.ndarray, " m"]
    row: Int32[np.ndarray, " m"]
    col: Int32[np.ndarray, " m"]

    @classmethod
    def to_class(
        cls, scores: Float[Tensor, " k"], cells: Int64[Tensor, " k"], weights: Float[Tensor, " k"], columns: int
    ) -> Contributions:
        """Compute the contributions in float64 on the CPU, so that they sum to the logit in any order.

        Args:
            scores: Presence of every code in the image, in [0, 1].
            cells: The grid cell of each presence, counted row by row.
            weights: The class's row of the head, >= 0; a code without weight does not contribute.
            columns: Number of columns of the grid.
        """
        score, weight = scores.cpu().double().numpy(), weights.cpu().double().numpy()
        code = np.flatnonzero(weight)
        score, weight = score[code], weight[code]
        row, col = (part.astype(np.int32) for part in np.divmod(cells.cpu().numpy()[code], columns))
        return _ordered(cls(code, score, weight, score * weight, row, col))

    @classmethod
    def of_table(cls, rows: pd.DataFrame) -> Contributions:
        """Read the contributions from rows of contributions.parquet, all of one image and one class."""
        return _ordered(cls(*(rows[field.name].to_numpy() for field in fields(cls))))

    def parts(self, most: int | None = None) -> Iterator[Part]:
        """Yield the contributions one by one, largest first; at most ``most``."""
        columns = (column[:most].tolist() for column in vars(self).values())
        for code, score, weight, contribution, row, col in zip(*columns, strict=True):
            yield Part(code, score, weight, contribution, (row, col))


def _ordered(found: Contributions) -> Contributions:
    order = np.lexsort((found.code, -found.contribution))
    return Contributions(*(column[order] for column in vars(found).values()))
