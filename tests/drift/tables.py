"""Histograms of parts that are seen for certain or not at all."""

import numpy as np

from protoquant.head.reference import BINS


def histogram(images, seen):
    """So many images, of which some show the part for certain and the others not at all."""
    row = np.zeros(BINS, dtype=np.int64)
    row[-1], row[0] = seen, images - seen
    return row


def counts(**seen):
    """``train=(100, [40, 1])``: of 100 images 40 show the first part and one the second."""
    return {name: np.stack([histogram(n, one) for one in parts]) for name, (n, parts) in seen.items()}
