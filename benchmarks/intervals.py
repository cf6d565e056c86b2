"""Computes intervals of accuracies over several seeds, which may share their images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Num

from protoquant.core.seeding import numpy_generator

RESAMPLES = 2_000


def of_images(values: Sequence[Num[np.ndarray, "n ..."]], images: Sequence[str]) -> Float[np.ndarray, "m ..."]:
    """Return one value for each image: its mean over the seeds that saw it.

    Seeds of photos are measured on the same images, seeds of partbirds each on their own. Answers of several models on
    one image are not independent, so that a bootstrap over answers would make the interval too narrow.

    Args:
        values: For each seed one value (or array) per image, say 1 where the answer is right.
        images: For each seed the name of its images; seeds with the same name saw the same images in the same order.
    """
    groups: dict[str, list[np.ndarray]] = {}
    for name, part in zip(images, values, strict=True):
        groups.setdefault(name, []).append(np.asarray(part, dtype=np.float64))
    return np.concatenate([np.mean(group, axis=0) for group in groups.values()])


def interval(values: Num[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean over images.

    Every call draws the same resamples, so that equal values have equal intervals.
    """
    generator = numpy_generator(0, "benchmark accuracy")
    n = len(values)
    means = [values[generator.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
