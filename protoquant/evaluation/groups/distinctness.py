"""Distinctness of the prototypes of a model, from its codes and the training patches named for them."""

import numpy as np
import pandas as pd

from protoquant.evaluation.metrics.distinctness import ALIKE, SHARED, alike_pairs, nearest_other, shared_patches
from protoquant.evaluation.places.patches import Patches
from protoquant.evaluation.subject import Measured, Subject

TABLE = "distinctness.csv"


def measure(subject: Subject, split: str) -> Measured:  # noqa: ARG001
    """Compare the prototypes with each other; no image is looked at, so the split does not matter."""
    bundle = subject.bundle
    prototypes = bundle.prototypes.numpy()
    codes, (rows, cols) = bundle.codebook.codes.numpy()[prototypes], bundle.grid
    named = bundle.provenance
    patches = Patches(
        owner=np.searchsorted(prototypes, named["code"].to_numpy()),
        image=pd.factorize(named["image_id"])[0],
        cell=(named["row"] * cols + named["col"]).to_numpy(dtype=np.int64),
        p=len(prototypes),
    )
    nearest, shared = nearest_other(codes), shared_patches(patches, rows * cols)
    numbers = {
        "nearest_other": subject.estimate("distinctness-nearest", nearest),
        "alike": subject.estimate("distinctness-alike", _above(nearest, ALIKE)),
        "alike_pairs": alike_pairs(codes),
        "shared_patches": subject.estimate("distinctness-patches", shared),
        "sharing": subject.estimate("distinctness-sharing", _above(shared, SHARED)),
    }
    table = pd.DataFrame({"code": prototypes, "nearest_other": nearest, "shared_patches": shared})
    return Measured(numbers, {TABLE: table})


def _above(values: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, values > threshold)
