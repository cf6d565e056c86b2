"""What a finished model has seen: its answers, and histograms of the presence of its prototypes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from protoquant.model.reference import BINS, Reference


def reference(
    prototypes: Sequence[int],
    predicted: Sequence[int],
    labels: Sequence[int],
    *,
    ids: Sequence[str] | None = None,
    probability: float | np.ndarray = 0.75,
    logit: float | np.ndarray = 2.0,
    presence: Mapping[str, np.ndarray] | None = None,
    below: float | None = None,
    health: Mapping[str, float] | None = None,
) -> Reference:
    """The answers to validation images; unless presence is given, one image of four shows each prototype."""
    answers = pd.DataFrame(
        {
            "image_id": list(ids or [f"validation/{number}.png" for number in range(len(labels))]),
            "label": np.array(labels, dtype=np.int64),
            "predicted": np.array(predicted, dtype=np.int64),
            "probability": probability,
            "logit": logit,
        }
    )
    parts = (4, [1] * len(prototypes))
    return Reference(answers, tuple(prototypes), presence or counts(train=parts, validation=parts), below, health or {})


def histogram(images: int, seen: int) -> np.ndarray:
    """So many images, of which some show the part for certain and the others not at all."""
    row = np.zeros(BINS, dtype=np.int64)
    row[-1], row[0] = seen, images - seen
    return row


def counts(**seen: tuple[int, Sequence[int]]) -> dict[str, np.ndarray]:
    """``train=(100, [40, 1])``: of 100 images 40 show the first part and one the second."""
    return {
        name: np.array([histogram(n, one) for one in parts], dtype=np.int64).reshape(-1, BINS)
        for name, (n, parts) in seen.items()
    }


def histograms(scores: np.ndarray) -> np.ndarray:
    """Images by prototype and bin, counted one by one from their presence (n, p)."""
    found = np.zeros((scores.shape[1], BINS), dtype=np.int64)
    for row in scores:
        for code, score in enumerate(row):
            found[code, min(int(score * BINS), BINS - 1)] += 1
    return found
