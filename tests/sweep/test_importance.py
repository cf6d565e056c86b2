"""Importance finds the key that matters, and says nothing where there is nothing to say."""

import numpy as np
import pandas as pd
import pytest

from protoquant.sweep.importance import _groups, importance
from tests.builders.sweeps import KEYS, tables


def test_the_size_explains_nearly_all() -> None:
    trials, _ = tables()
    shares = importance(trials, KEYS)
    assert next(iter(shares)) == "quantize.size"
    assert shares["quantize.size"] > 0.9
    assert shares["train.temperature"] < 0.05


def test_a_worked_case() -> None:
    # Two groups of three: means 1 and 3, within each a spread of (-1, 0, 1): between 6, within 4, noise 4 / 4 = 1.
    trials = pd.DataFrame(
        {"state": "done", "a": ["x"] * 3 + ["y"] * 3, "b": [1, 2, 3] * 2, "y": [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]}
    )
    shares = importance(trials, ["a", "b"], target="y")
    assert shares["a"] == pytest.approx((6 - 1) / (10 + 1))
    # b: means 1, 2, 3 of two each: between 4, within 6, noise 6 / 3 = 2, two groups are free.
    assert shares["b"] == pytest.approx((4 - 2 * 2) / (10 + 2))


def test_values_are_put_into_four_groups_at_most() -> None:
    """Numbers by the order of their values, however often each comes; texts by how often they come."""
    assert _groups(pd.Series([1, 1, 1, 1, 2, 3, 4, 5])).tolist() == [1, 1, 1, 1, 2, 3, 4, 4]
    assert _groups(pd.Series(list("aaabbbccde"))).nunique() == 4
    assert _groups(pd.Series([8, 8, 2, 4, 1])).nunique() == 4


def test_chance_alone_explains_about_nothing() -> None:
    rng = np.random.default_rng(0)
    trials = pd.DataFrame({"state": "done", "a": rng.random(400), "b": rng.random(400), "y": rng.random(400)})
    assert max(importance(trials, ["a", "b"], target="y").values()) < 0.03


def test_one_key_few_trials_or_equal_numbers_say_nothing() -> None:
    trials, _ = tables()
    assert importance(trials, KEYS[:1]) == {}
    assert importance(trials.head(5), KEYS) == {}
    assert importance(trials.assign(accuracy=0.5), KEYS) == {}
