"""The comparison of two models on the same validation images: their differences, and how certain these are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from protoquant.core.errors import DataError
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.calibration import error_of
from protoquant.evaluation.metrics.intervals import Statistic, estimate, macro_of, mean_of
from protoquant.model.bundle import Bundle


@dataclass(frozen=True)
class Difference:
    """One number of two models on the same images; the difference is after minus before.

    Attributes:
        before: Value for the first model.
        after: Value for the second model.
        change: after - before.
        low: Lower end of the 95 % bootstrap interval of the change.
        high: Upper end of that interval.
    """

    before: float
    after: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two models on the same validation images.

    Attributes:
        n: Number of images.
        accuracy: Top-1 accuracy, in [0, 1].
        balanced: Balanced accuracy, the mean recall of the classes that have images, in [0, 1].
        calibration: Expected calibration error, in [0, 1].
        gained: Images that only the second has right.
        lost: Images that only the first has right.
        p_value: p-value of the exact McNemar test that both are right equally often; 1 where no image tells them apart.
        answers: image_id, class_name, before, after (names of the predicted classes), one row for each image.
    """

    n: int
    accuracy: Difference
    balanced: Difference
    calibration: Difference
    gained: int
    lost: int
    p_value: float
    answers: pd.DataFrame


def paired(before: Bundle, after: Bundle, *, seed: int = 0) -> Paired:
    """Compare the validation answers of two bundles, image by image.

    Args:
        before: The first model, the present champion for instance.
        after: The second.
        seed: Seed of the bootstrap.

    Raises:
        DataError: A bundle holds no validation answers, or the two hold answers for different images or classes.

    Source:
        McNemar 1947; the paired bootstrap draws images, each with both answers.
    """
    config = EvaluateConfig()
    one, other = named_answers(before), named_answers(after)
    joined = one.merge(other, on=["image_id", "class_name"], suffixes=("_before", "_after"), validate="one_to_one")
    if not len(joined) == len(one) == len(other):
        raise DataError(
            f"the two models were chosen on other validation images: {len(one):,} and {len(other):,}, of which "
            f"{len(joined):,} are the same with the same class; compare models of one data set"
        )
    n = len(joined)
    right = {
        side: (joined[f"answer_{side}"] == joined["class_name"]).to_numpy(dtype=np.float64)
        for side in ("before", "after")
    }
    shown = (joined["probability_before"].to_numpy(), joined["probability_after"].to_numpy())
    labels, names = pd.factorize(joined["class_name"])
    statistics: dict[str, tuple[Statistic, Statistic]] = {
        "accuracy": (mean_of(right["before"]), mean_of(right["after"])),
        "balanced": (
            macro_of(right["before"], labels, len(names)),
            macro_of(right["after"], labels, len(names)),
        ),
        "calibration": (
            error_of(shown[0], right["before"], config.bins),
            error_of(shown[1], right["after"], config.bins),
        ),
    }
    changes = {
        name: _difference(*both, n, config, numpy_generator(seed, "comparison", name))
        for name, both in statistics.items()
    }
    gained, lost = int((right["after"] > right["before"]).sum()), int((right["after"] < right["before"]).sum())
    answers = joined[["image_id", "class_name", "answer_before", "answer_after"]]
    return Paired(
        n=n,
        **changes,
        gained=gained,
        lost=lost,
        p_value=mcnemar(gained, lost),
        answers=answers.rename(columns={"answer_before": "before", "answer_after": "after"}),
    )


def named_answers(bundle: Bundle) -> pd.DataFrame:
    """The validation answers of a bundle by class name: image_id, class_name, answer, probability, logit.

    Raises:
        DataError: The bundle is of an older version that kept no answers.
    """
    if bundle.reference is None:
        raise DataError(
            "a bundle of an older version keeps no validation answers to compare; run train again (dvc repro)"
        )
    answers, names = bundle.reference.answers, np.array(bundle.classes, dtype=object)
    return pd.DataFrame(
        {
            "image_id": answers["image_id"],
            "class_name": names[answers["label"]],
            "answer": names[answers["predicted"]],
            "probability": answers["probability"],
            "logit": answers["logit"],
        }
    )


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value of the hypothesis that images are gained and lost equally often.

    Args:
        gained: Images that only the second model has right.
        lost: Images that only the first has right.
    """
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(min(gained, lost), gained + lost, 0.5).pvalue)


def _difference(
    before: Statistic, after: Statistic, n: int, config: EvaluateConfig, rng: np.random.Generator
) -> Difference:
    def change(positions: NDArray[np.int64]) -> NDArray[np.float64]:
        return after(positions) - before(positions)

    everything = np.arange(n)[None]
    found = estimate(change, n, config, rng)
    return Difference(float(before(everything)[0]), float(after(everything)[0]), found.value, found.low, found.high)
