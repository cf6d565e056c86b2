"""How much of its evidence an explanation puts inside a region of the image: two ways to draw evidence from cells.

Both explanations draw what a prototype contributes to a class onto the pixels of the view. ``box`` spreads each
contribution over the fixed box around the cell of the maximum; ``map`` weighs the prototype's shares in all cells and
spreads them over the view bilinearly. As both are sums over cells, the evidence inside a region is a product of two
matrices, for all classes at once, and no map of pixels is made.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import maximum_filter
from torch.nn.functional import interpolate

from protoquant.evaluation.metrics.funnybirds.trial import Importance

REACH = 5
"""Side of the square by which a part is widened, in pixels of the view, since evidence lies at its edge too."""


def widened(masks: Bool[np.ndarray, "m h w"]) -> Bool[np.ndarray, "m h w"]:
    """Every pixel within two pixels of a mask, also across corners: a maximum filter of 5 x 5.

    Left and right of a part are one mask, so that a pixel near both counts once; public code counts it twice.
    """
    wide: Bool[np.ndarray, "m h w"] = maximum_filter(masks, size=(1, REACH, REACH), mode="constant", cval=False)
    return wide


def with_whole(parts: Bool[np.ndarray, "p h w"], objects: Bool[np.ndarray, "o h w"]) -> Bool[np.ndarray, "m h w"]:
    """The masks of parts and objects, widened, and the whole view."""
    return np.concatenate([widened(np.concatenate([parts, objects])), np.ones((1, *parts.shape[1:]), dtype=bool)])


def box_coverage(masks: Bool[np.ndarray, "m h w"], boxes: Float[np.ndarray, "t 4"]) -> Float[np.ndarray, "m t"]:
    """Number of pixels of each mask whose centre lies in each box.

    Args:
        masks: In the view.
        boxes: (left, top, right, bottom) in pixels of the view.
    """
    height, width = masks.shape[1:]
    left, top, right, bottom = boxes.T[:, :, None]
    down, across = np.arange(height) + 0.5, np.arange(width) + 0.5
    rows = ((top < down) & (down < bottom)).astype(np.float64)
    columns = ((left < across) & (across < right)).astype(np.float64)
    in_columns = masks.astype(np.float64) @ columns.T
    covered: Float[np.ndarray, "m t"] = np.einsum("mht,th->mt", in_columns, rows)
    return covered


def map_coverage(masks: Bool[np.ndarray, "m h w"], grid: tuple[int, int]) -> Float[np.ndarray, "m t"]:
    """How much of a map of cells, enlarged to the view bilinearly, each cell puts inside each mask.

    Args:
        masks: In the view.
        grid: (h, w), in cells.

    Returns:
        The factor by which the value of a cell enters the sum over the mask's pixels.
    """
    rows, columns = (_enlarging(cells, side) for cells, side in zip(grid, masks.shape[1:], strict=True))
    covered = rows.T @ (masks.astype(np.float64) @ columns)
    return covered.reshape(len(masks), -1)


def box_evidence(
    coverage: Float[np.ndarray, "m t"],
    scores: Float[np.ndarray, " k"],
    cells: Int[np.ndarray, " k"],
    head: Float[np.ndarray, "c k"],
) -> Float[np.ndarray, "m c"]:
    """E1: each prototype's contribution to each class, on every pixel of the box around its cell.

    Args:
        coverage: Of the fixed boxes, by ``box_coverage``.
        scores: Presence of every prototype.
        cells: The cell of that presence.
        head: Weights, >= 0.
    """
    evidence: Float[np.ndarray, "m c"] = (coverage[:, cells] * scores) @ head.T
    return evidence


def map_evidence(
    coverage: Float[np.ndarray, "m t"], shares: Float[np.ndarray, "t k"], head: Float[np.ndarray, "c k"]
) -> Float[np.ndarray, "m c"]:
    """E2: each prototype's share in each cell times its weight, enlarged to the view.

    Args:
        coverage: By ``map_coverage``.
        shares: Share of every prototype in every cell.
        head: Weights, >= 0.
    """
    evidence: Float[np.ndarray, "m c"] = coverage @ shares @ head.T
    return evidence


def as_importance(evidence: Float[np.ndarray, "m c"], parts: int) -> Importance:
    """Split the evidence in all parts, then all objects, and last the whole view."""
    return Importance(evidence[:parts], evidence[parts:-1], evidence[-1])


def _enlarging(cells: int, side: int) -> Float[np.ndarray, "side cells"]:
    """The matrix that enlarges a row of cells to pixels."""
    rows = interpolate(torch.eye(cells, dtype=torch.float64)[None], size=side, mode="linear", align_corners=False)
    matrix: Float[np.ndarray, "side cells"] = rows[0].T.numpy()
    return matrix
