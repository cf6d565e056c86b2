import numpy as np
import pandas as pd
import pytest
from scipy import stats

from protoquant.prune.study.compare import CLAIM, compare, interval, verdict

ITERATIVE = {0.2: -0.05, 0.6: 0.0, 0.9: 0.04}


def runs(shifts: dict[float, float] = ITERATIVE, tuner: str = "refit") -> pd.DataFrame:
    """Draws differ by much, strategies within a draw by little: only a paired comparison sees it."""
    rows = [{"tuner": tuner, "strategy": "start", "ratio": 0.0, "draw": 0, "top1": 0.9, "overlap": 1.0, "work": 0}]
    for ratio, shift in shifts.items():
        for draw, level in enumerate((0.3, 0.5, 0.7, 0.9)):
            tremble = 0.001 * (-1) ** draw
            for strategy, top1 in (("one_shot", level), ("iterative", level + shift + tremble)):
                row = {"tuner": tuner, "strategy": strategy, "ratio": ratio, "draw": draw, "top1": top1}
                other = {"overlap": 1.0, "work": 10} if strategy == "one_shot" else {"overlap": 0.8, "work": 25}
                rows.append({**row, **other})
    return pd.DataFrame(rows)


def test_interval_is_that_of_the_t_test() -> None:
    values = np.array([0.01, 0.03, -0.01, 0.02])
    found = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert interval(values.tolist(), 0.9) == pytest.approx((values.mean(), found.low, found.high))
    assert interval([0.2, 0.2], 0.95) == pytest.approx((0.2, 0.2, 0.2))


def test_differences_are_paired() -> None:
    found = compare(runs(), "top1", 0.95).set_index("ratio")
    assert found["winner"].to_dict() == {0.2: "one_shot", 0.6: "neither", 0.9: "iterative"}
    assert found["difference"].to_dict() == pytest.approx({0.2: -0.05, 0.6: 0.0, 0.9: 0.04})
    assert found["base"].tolist() == pytest.approx([0.6] * 3)
    assert found["overlap"].tolist() == pytest.approx([0.8] * 3)


def test_a_difference_within_its_interval_has_no_winner() -> None:
    """0.0005 above one_shot in the mean, and by turns 0.0015 above and 0.0005 below."""
    found = compare(runs({0.6: 0.0005}), "top1", 0.95).iloc[0]
    assert found["difference"] == pytest.approx(0.0005)
    assert found["low"] < 0 < found["high"]
    assert found["winner"] == "neither"


def test_the_verdict_names_who_wins_where() -> None:
    said = verdict(compare(runs(), "top1", 0.95), 0.95)
    assert said[0] == CLAIM
    assert said[1].startswith("3 comparisons, of which about 0.2 ")
    assert "better beyond the interval: iterative at 0.9; one_shot at 0.2. The" in said[2]
    assert "80% to 80% of their units alike; iterative worked 2.5 times as long" in said[2]
    assert "<= 0.5 holds, that iterative is at ratios >= 0.8 holds" in said[3]


def test_the_verdict_says_where_the_claim_is_not_seen_and_where_the_opposite_is() -> None:
    said = verdict(compare(runs({0.2: 0.05, 0.9: 0.0}), "top1", 0.95), 0.95)
    assert "<= 0.5 is not seen, that iterative is at ratios >= 0.8 is not seen; the opposite is seen at 0.2" in said[3]
    nothing = verdict(compare(runs({0.2: 0.0}), "top1", 0.95), 0.95)
    assert "beyond the interval: neither." in nothing[2]
