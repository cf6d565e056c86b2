"""Intervals against hand-made cases and a plain loop."""

import numpy as np
import pytest
from scipy import stats

from protoquant.core.errors import DataError
from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.intervals import estimate, macro_of, mean_of

CONFIG = EvaluateConfig(resamples=500)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_mean_interval_equals_a_plain_bootstrap(level: float) -> None:
    values = np.array([1.0] * 70 + [0.0] * 30)
    config = CONFIG.model_copy(update={"resamples": 4000, "level": level})
    found = estimate(mean_of(values), 100, config, numpy_generator(0, "a"))
    rng = np.random.default_rng(1)
    means = [values[rng.integers(0, 100, 100)].mean() for _ in range(4000)]
    assert found.value == pytest.approx(0.7)
    assert found.n == 100
    assert found.low == pytest.approx(np.quantile(means, 0.5 - level / 2), abs=0.011)
    assert found.high == pytest.approx(np.quantile(means, 0.5 + level / 2), abs=0.011)


@pytest.mark.parametrize(("kind", "method"), [("percentile", "percentile"), ("bca", "BCa")])
def test_the_kind_of_interval_is_that_of_scipy(kind: str, method: str) -> None:
    """Of skewed values, where the two kinds lie apart."""
    values = np.arange(1.0, 21.0) ** 4
    config = EvaluateConfig.model_validate({"interval": kind, "resamples": 300})
    found = estimate(mean_of(values), 20, config, numpy_generator(3, "x"))
    rng = numpy_generator(3, "x")
    oracle = stats.bootstrap((values,), np.mean, n_resamples=300, method=method, rng=rng).confidence_interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_same_seed_same_interval(kind: str) -> None:
    values = np.arange(40.0) % 7
    config = EvaluateConfig.model_validate({"interval": kind, "resamples": 300})
    first, second = (estimate(mean_of(values), 40, config, numpy_generator(3, "x")) for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high
    assert estimate(mean_of(values), 40, config, numpy_generator(4, "x")) != first


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_all_right_is_one_point_without_a_warning(kind: str, recwarn: pytest.WarningsRecorder) -> None:
    config = EvaluateConfig.model_validate({"interval": kind, "resamples": 100})
    found = estimate(mean_of(np.ones(12)), 12, config, numpy_generator(0))
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    assert not recwarn.list


def test_one_image_has_no_spread_and_none_is_an_error() -> None:
    found = estimate(mean_of(np.array([0.25])), 1, CONFIG, numpy_generator(0))
    assert (found.low, found.high) == (0.25, 0.25)
    with pytest.raises(DataError, match="at least one test image, got 0"):
        estimate(mean_of(np.array([])), 0, CONFIG, numpy_generator(0))


def test_macro_weighs_classes_not_images() -> None:
    labels = np.array([0, 0, 0, 1])
    correct = np.array([1.0, 1.0, 1.0, 0.0])
    statistic = macro_of(correct, labels, 3)
    # Class 0: 3 of 3, class 1: 0 of 1, class 2 has no image.
    assert statistic(np.array([[0, 1, 2, 3]])) == pytest.approx([0.5])
    # A resample without class 1 is the mean over class 0 alone.
    assert statistic(np.array([[0, 1, 2, 2], [3, 3, 3, 0]])) == pytest.approx([1.0, 0.5])


def test_macro_equals_a_loop_over_classes() -> None:
    rng = np.random.default_rng(0)
    labels, correct = rng.integers(0, 5, 60), rng.integers(0, 2, 60).astype(float)
    samples = rng.integers(0, 60, (7, 60))
    expected = [np.mean([correct[s][labels[s] == label].mean() for label in np.unique(labels[s])]) for s in samples]
    assert macro_of(correct, labels, 5)(samples) == pytest.approx(expected)
