"""The input and outputs of an exported model, which are the same in every format."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

INPUT = "images"
AXES = ("n", "height", "width")
OUTPUTS = ("logits", "scores", "cells", "maps")


class Outputs(NamedTuple):
    """The outputs for a batch, in the order of the exported model.

    Attributes:
        logits: Class scores (n, c), float32, >= 0.
        scores: Presence of each prototype (n, p), float32, in [0, 1].
        cells: Row and column of the grid cell that gave each presence (n, p, 2), int64.
        maps: Share of each prototype in the softmax over codes at every cell (n, p, h, w), float32, in [0, 1].
    """

    logits: np.ndarray
    scores: np.ndarray
    cells: np.ndarray
    maps: np.ndarray


Run = Callable[[np.ndarray], Outputs]
"""A function from uint8 images (n, height, width, 3) to their outputs."""
