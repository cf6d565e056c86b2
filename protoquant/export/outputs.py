"""The input and outputs of an exported model, which are the same in every format."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

INPUT = "images"
AXES = ("n", "height", "width")
OUTPUTS = ("logits", "scores", "cells")


class Outputs(NamedTuple):
    """The outputs for a batch, in the order of the exported model.

    Attributes:
        logits: Class scores (n, c), float32, >= 0.
        scores: Presence of each prototype (n, p), float32, in [0, 1].
        cells: Row and column of the grid cell that gave each presence (n, p, 2), int64.
    """

    logits: np.ndarray
    scores: np.ndarray
    cells: np.ndarray


Run = Callable[[np.ndarray], Outputs]
"""A function from uint8 images (n, height, width, 3) to their outputs."""
