"""Which parts lie in the boxes of which cells, for all images of a split at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from protoquant.core.events import OnEvent, ignore, track
from protoquant.evaluation.places.box import KINDS, Boxes
from protoquant.evaluation.places.part_view import PartView


@dataclass(frozen=True)
class PlacedParts:
    """The parts in the boxes of n images, in the view of a backbone.

    Attributes:
        names: The m parts.
        hits: Whether a part lies in the box of a cell (n, t, m).
        visible: Whether a part is visible in the view (n, m).
        shares: The share of the box that the part fills (n, t, m), in [0, 1]; None where parts are points.
        object_share: The share of the box that parts and body fill together (n, t); None where parts are points.
    """

    names: tuple[str, ...]
    hits: Bool[np.ndarray, "n t m"]
    visible: Bool[np.ndarray, "n m"]
    shares: Float[np.ndarray, "n t m"] | None = None
    object_share: Float[np.ndarray, "n t"] | None = None

    def merged(self, mirrored: Mapping[str, str]) -> PlacedParts:
        """Count a left part as its right twin.

        The twin is visible where either side is, and hit where either visible side is; shares of the two add up.

        Args:
            mirrored: The right part of each left part.

        Source:
            PIP-Net (Nauta et al., CVPR 2023): the larger hit where both sides are visible, else that of the one side.
        """
        if not mirrored:
            return self
        hits, visible = self.hits.copy(), self.visible.copy()
        shares = None if self.shares is None else self.shares.copy()
        for left, right in mirrored.items():
            one, other = self.names.index(left), self.names.index(right)
            hits[:, :, other] |= hits[:, :, one]
            visible[:, other] |= visible[:, one]
            if shares is not None:
                shares[:, :, other] += shares[:, :, one]
        kept = [number for number, name in enumerate(self.names) if name not in mirrored]
        return replace(
            self,
            names=tuple(self.names[number] for number in kept),
            hits=hits[:, :, kept],
            visible=visible[:, kept],
            shares=None if shares is None else shares[:, :, kept],
        )


@dataclass(frozen=True)
class SplitPlaces:
    """The parts in the boxes of all annotated images of a split.

    Attributes:
        positions: Position of each annotated image (n) among the images of the feature store.
        boxes: By kind of box, ``fixed`` and ``cell``, the parts in these images.
    """

    positions: Int[np.ndarray, " n"]
    boxes: Mapping[str, PlacedParts]


def place_split(
    view: PartView, image_ids: Sequence[str], grid: tuple[int, int], on_event: OnEvent = ignore
) -> SplitPlaces:
    """Find the parts in the fixed box and in the cell of every place of the grid.

    Args:
        view: The annotations, in the backbone's view.
        image_ids: The images of the feature store; those without annotations are left out.
        grid: (h, w), in cells.
        on_event: Receives progress after each image.
    """
    annotated = set(view.parts.image_ids)
    positions = [position for position, image_id in enumerate(image_ids) if image_id in annotated]
    kinds = {name: boxes(grid, view.size) for name, boxes in KINDS.items()}
    placed = place_parts(view, [image_ids[position] for position in positions], list(kinds.values()), on_event)
    return SplitPlaces(np.array(positions, dtype=np.int64), dict(zip(kinds, placed, strict=True)))


def place_parts(
    view: PartView, image_ids: Sequence[str], boxes: Sequence[Boxes], on_event: OnEvent = ignore
) -> list[PlacedParts]:
    """Find the parts in every box of every image; an image is read once, however many kinds of boxes there are.

    Args:
        view: The annotations, in a view.
        image_ids: Annotated images.
        boxes: Kinds of boxes, each with a box for every cell.
        on_event: Receives progress after each image.

    Returns:
        The parts for each kind of boxes, images in the given order.
    """
    every, m, masks = np.concatenate(boxes), len(view.names), view.parts.table.schema.form == "masks"
    hits = np.zeros((len(image_ids), len(every), m), dtype=bool)
    visible = np.zeros((len(image_ids), m), dtype=bool)
    shares = np.zeros((len(image_ids), len(every), m + 1), dtype=np.float32) if masks else None
    label = f"parts, {view.parts.name}"
    for position, image_id in enumerate(track(image_ids, label, len(image_ids), "images", on_event)):
        seen = view.of(image_id)
        hits[position], visible[position] = seen.hits(every) & seen.visible, seen.visible
        if shares is not None:
            shares[position] = seen.shares(every)
    cuts = np.cumsum([len(each) for each in boxes])[:-1]
    filled = [None] * len(boxes) if shares is None else np.split(shares, cuts, axis=1)
    return [
        PlacedParts(
            view.names,
            hit,
            visible,
            None if share is None else share[:, :, :m],
            None if share is None else share[:, :, m],
        )
        for hit, share in zip(np.split(hits, cuts, axis=1), filled, strict=True)
    ]
