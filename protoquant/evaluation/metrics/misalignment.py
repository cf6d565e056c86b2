"""Spatial misalignment: what happens to a prototype when only pixels outside the region it points at are changed.

An activation is (1 + cosine) / 2, in [0, 1]; the cosine itself may be negative, and a share of it would mean nothing.
All maps are of one image. Changes are shares, where papers write percent.

Source:
    Sacha et al., AAAI 2024 (PLC, PRC, PAC), with the last row and column protected like all others.
"""

from dataclasses import dataclass
from math import floor

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

PERCENTILE = 95.0
"""Pixels of the upsampled map at or above this percentile span the region that the prototype points at."""
GROWTH = 10 / 224
"""How far the region's box is grown on each side, as a share of the view's side."""
QUANTILE = 0.9
"""Pixels of the upsampled map above this quantile are compared between two maps."""
SILENT = 1e-6
"""An image without a larger activation is skipped."""
OWN = 10
"""Prototypes of a class: at most so many, those of its largest weights."""


@dataclass(frozen=True)
class Region:
    """A box of whole pixels of the view: rows [top, bottom), columns [left, right)."""

    left: int
    top: int
    right: int
    bottom: int

    def outside(self, size: tuple[int, int]) -> Float[Tensor, "h w"]:
        """1 where a pixel of a view of (height, width) lies outside the box, else 0."""
        mask = torch.ones(size)
        mask[self.top : self.bottom, self.left : self.right] = 0.0
        return mask


@dataclass(frozen=True)
class Misalignment:
    """Changes of the attacked prototype; lower is better for all.

    Attributes:
        plc: Change of place: 1 - IoU of its most active pixels before and after, in [0, 1].
        prc: Change of rank: prototypes of other classes that overtake it, less those that fall behind it.
        pac: Lost share of its activation, at most 1; negative where it grew.
    """

    plc: float
    prc: float
    pac: float


def activation(similarity: Float[Tensor, "t k"], grid: tuple[int, int]) -> Float[np.ndarray, "k h w"]:
    """Maps of activation from the cosines of one image's cells, which are counted row by row."""
    maps: Float[np.ndarray, "k h w"] = ((1.0 + similarity.double().cpu()) / 2).T.reshape(-1, *grid).numpy()
    return maps


def of_class(weights: Float[np.ndarray, " k"], most: int = OWN) -> Bool[np.ndarray, " k"]:
    """The prototypes of a class: those of its largest positive weights; the lower code where two are equal."""
    own = np.zeros(len(weights), dtype=bool)
    own[np.argsort(-weights, kind="stable")[:most]] = True
    found: Bool[np.ndarray, " k"] = own & (weights > 0)
    return found


def protected_region(map_: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Region:
    """The box that an attack must leave as it is.

    Args:
        map_: Activation of the attacked prototype on the grid.
        size: (height, width) of the view, in pixels.

    Returns:
        The box of the pixels at or above the percentile, grown on each side and cut at the view's edges.
    """
    seen = _upsampled(map_, size, "bicubic")
    rows, cols = np.nonzero(seen >= np.percentile(seen, PERCENTILE))
    down, across = (floor(GROWTH * side + 0.5) for side in size)
    return Region(
        left=max(0, int(cols.min()) - across),
        top=max(0, int(rows.min()) - down),
        right=min(size[1], int(cols.max()) + 1 + across),
        bottom=min(size[0], int(rows.max()) + 1 + down),
    )


def misalignment(
    before: Float[np.ndarray, "k h w"],
    after: Float[np.ndarray, "k h w"],
    attacked: int,
    own: Bool[np.ndarray, " k"],
    size: tuple[int, int],
) -> Misalignment:
    """Compare the maps of an image with those of its changed copy.

    Args:
        before: Activation of every prototype.
        after: The same of the changed copy.
        attacked: The attacked prototype; its activation before must be positive.
        own: Prototypes of the image's true class, which do not count in the rank.
        size: (height, width) of the view, in pixels.
    """
    was, now = before.max(axis=(1, 2)), after.max(axis=(1, 2))
    return Misalignment(
        plc=location_change(before[attacked], after[attacked], size),
        prc=float((now[~own] > now[attacked]).sum() - (was[~own] > was[attacked]).sum()),
        pac=float(1.0 - now[attacked] / was[attacked]),
    )


def location_change(before: Float[np.ndarray, "h w"], after: Float[np.ndarray, "h w"], size: tuple[int, int]) -> float:
    """1 - IoU of the most active pixels of two maps of one prototype; 0 where neither has any."""
    high = [
        seen > np.quantile(seen, QUANTILE) for seen in (_upsampled(part, size, "bilinear") for part in (before, after))
    ]
    either = int((high[0] | high[1]).sum())
    return 0.0 if either == 0 else float(1.0 - (high[0] & high[1]).sum() / either)


def _upsampled(map_: Float[np.ndarray, "h w"], size: tuple[int, int], mode: str) -> Float[np.ndarray, "v u"]:
    grown = functional.interpolate(
        torch.from_numpy(map_.astype(np.float64, order="C"))[None, None], size=size, mode=mode, align_corners=False
    )
    pixels: Float[np.ndarray, "v u"] = grown[0, 0].numpy()
    return pixels
