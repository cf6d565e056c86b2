"""Compares FunnyBirds' scores of two models image by image, as benchmarks.believable does with those of before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmarks.intervals import RESAMPLES
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.funnybirds.summary import completeness

_CHECKS = ("synthetic_data_check", "preservation_check", "deletion_check")
_COLUMNS = (*(f"{name}_fixed" for name in (*_CHECKS, "distractibility")), "single_deletion", "target_sensitivity")


def pairs(models: Sequence[Path], before: Sequence[Path]) -> pd.DataFrame:
    """Differences of the three scores of Hesse et al. 2023 and of their mean, with bootstrap intervals by image.

    The explanation is the map, and the threshold the fixed one, so nothing is picked on the images that measure. Seeds
    saw the same images: the values of an image are averaged over them first.

    Args:
        models: The table ``funnybirds.csv`` of a model, for each seed.
        before: That of the model to compare with, for each seed.

    Returns:
        One row for each score: before, after, difference, low and high (95 %), n (images).
    """
    one, other = (_values(tables) for tables in (models, before))
    generator, n = numpy_generator(0, "benchmark funnybirds"), len(one)
    draws = [generator.integers(0, n, n) for _ in range(RESAMPLES)]
    spread = np.quantile([_scores(one[drawn]) - _scores(other[drawn]) for drawn in draws], [0.025, 0.975], axis=0)
    found = {"before": _scores(other), "after": _scores(one)}
    found |= {"difference": found["after"] - found["before"], "low": spread[0], "high": spread[1]}
    return pd.DataFrame({"score": ["completeness", "correctness", "contrastivity", "mean"], **found, "n": n})


def _values(tables: Sequence[Path]) -> Float[np.ndarray, "n 6"]:
    """Each image's outcome of each protocol, averaged over seeds; NaN where the protocol skips the image."""
    rows = pd.concat([pd.read_csv(path) for path in tables])
    rows = rows[rows["explainer"] == "map"]
    values: Float[np.ndarray, "n 6"] = rows.groupby("image_id")[list(_COLUMNS)].mean().to_numpy(dtype=np.float64)
    return values


def _scores(values: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, " 4"]:
    """Completeness, correctness, contrastivity and their mean."""
    means = np.nanmean(values, axis=0)
    three = [float(completeness(list(means[:3]), means[3])), means[4], means[5]]
    return np.array([*three, np.mean(three)])
