"""The annotated parts of an image as the backbone sees it: moved, cut and scaled with the image's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.object_cells import labels_in_view

if TYPE_CHECKING:
    from protoquant.data.parts.table import SplitParts
    from protoquant.data.table import ImageTable

HIT = 0.02
"""A part given as a mask is in a box if it fills at least this share of it."""


@dataclass(frozen=True)
class PointsInView:
    """The visible points of one image.

    Attributes:
        part: The part of each point (r), an index; a part may have several points.
        x: Pixels from the view's left edge (r).
        y: Pixels from its top edge (r).
        m: Number of parts.
        size: (height, width) of the view.
    """

    part: Int[np.ndarray, " r"]
    x: Float[np.ndarray, " r"]
    y: Float[np.ndarray, " r"]
    m: int
    size: tuple[int, int]

    @cached_property
    def visible(self) -> Bool[np.ndarray, " m"]:
        """The parts with a point in the view, its edges included."""
        height, width = self.size
        inside: Bool[np.ndarray, " m"] = self.hits(np.array([[0.0, 0.0, width, height]]))[0]
        return inside

    def hits(self, boxes: Float[np.ndarray, "b 4"]) -> Bool[np.ndarray, "b m"]:
        """The parts with a point in each box, its edges included."""
        left, top, right, bottom = boxes.T[:, :, None]
        inside = (left <= self.x) & (self.x <= right) & (top <= self.y) & (self.y <= bottom)
        found = np.zeros((self.m, len(boxes)), dtype=bool)
        np.logical_or.at(found, self.part, inside.T)
        return found.T

    def shares(self, boxes: Float[np.ndarray, "b 4"]) -> None:  # noqa: ARG002
        """A point fills nothing."""
        return


@dataclass(frozen=True)
class MasksInView:
    """The label map of one image.

    Attributes:
        labels: 0 background, 1 to m the parts, m + 1 the body.
        m: Number of parts.
    """

    labels: UInt8[np.ndarray, "h w"]
    m: int

    @cached_property
    def visible(self) -> Bool[np.ndarray, " m"]:
        """The parts with any pixel in the view."""
        return np.bincount(self.labels.ravel(), minlength=self.m + 1)[1 : self.m + 1] > 0

    def hits(self, boxes: Float[np.ndarray, "b 4"]) -> Bool[np.ndarray, "b m"]:
        """The parts that fill at least a fiftieth of each box."""
        found: Bool[np.ndarray, "b m"] = self.shares(boxes)[:, : self.m] >= HIT
        return found

    def shares(self, boxes: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, "b m+1"]:
        """The share of each box that each part fills, and last the whole object: parts and body.

        Args:
            boxes: (left, top, right, bottom); edges are rounded to pixels.
        """
        left, top, right, bottom = np.rint(boxes).astype(np.int64).T
        down, across = np.unique([top, bottom]), np.unique([left, right])
        sums = self._sums(down, across)
        left, right, top, bottom = *np.searchsorted(across, [left, right]), *np.searchsorted(down, [top, bottom])
        filled = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        area = np.maximum(filled.sum(axis=1, keepdims=True), 1)
        parts, whole = filled[:, 1 : self.m + 1], filled[:, 1:].sum(axis=1, keepdims=True)
        shares: Float[np.ndarray, "b m+1"] = np.concatenate([parts, whole], axis=1) / area
        return shares

    def _sums(self, down: Int[np.ndarray, " r"], across: Int[np.ndarray, " s"]) -> Int[np.ndarray, "r+1 s+1 m+2"]:
        """Pixels of each kind above a row and to the left of a column, for each of some rows and columns."""
        (height, width), kinds = self.labels.shape, self.m + 2
        row, col = (
            np.searchsorted(edges, np.arange(side), side="right") for edges, side in ((down, height), (across, width))
        )
        shape = (len(down) + 1, len(across) + 1, kinds)
        place = (row[:, None] * shape[1] + col) * kinds + self.labels
        counts = np.bincount(place.ravel(), minlength=shape[0] * shape[1] * kinds).reshape(shape)
        return counts.cumsum(axis=0).cumsum(axis=1)


@dataclass(frozen=True)
class PartView:
    """The annotated images of a split, as a backbone sees them.

    Attributes:
        parts: The annotations.
        sizes: (width, height) of the upright images, in pixels.
        preprocessing: The backbone's, or another view.
    """

    parts: SplitParts
    sizes: Mapping[str, tuple[int, int]]
    preprocessing: Preprocessing

    @classmethod
    def open(cls, parts: SplitParts, images: ImageTable, preprocessing: Preprocessing) -> PartView:
        """The annotations of a split.

        Args:
            parts: The annotations.
            images: The images of the same split.
            preprocessing: The view.
        """
        frame = images.frame
        sizes = zip(frame["width"].tolist(), frame["height"].tolist(), strict=True)
        return cls(parts, dict(zip(frame["image_id"], sizes, strict=True)), preprocessing)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the view, in pixels."""
        return self.preprocessing.crop

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts.table.schema.parts

    def of(self, image_id: str) -> PointsInView | MasksInView:
        """The parts of one image.

        Raises:
            DataError: The data has masks, but none of this image.
        """
        if self.parts.table.schema.form == "masks":
            return MasksInView(labels_in_view(self.parts.labels(image_id), self.preprocessing), len(self.names))
        part, x, y = self._points.get(image_id, (np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)))
        width, height = self.sizes[image_id]
        placed = self.preprocessing.placement(width, height)
        across, down = x * placed.width / width - placed.left, y * placed.height / height - placed.top
        return PointsInView(part, across, down, len(self.names), self.size)

    @cached_property
    def _points(self) -> dict[str, tuple[np.ndarray, ...]]:
        grouped = self.parts.points.groupby("image_id", sort=False)
        return {str(name): tuple(rows[key].to_numpy() for key in ("part", "x", "y")) for name, rows in grouped}
