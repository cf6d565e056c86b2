"""Compares the strategies of a study with each other and with the published claim."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

CLAIM = "published (arXiv 2508.13836): one-shot is better at low ratios, iterative at high ones; hybrid can beat both"
LOW, HIGH = 0.5, 0.8
"""Ratios up to LOW count as low, those from HIGH on as high."""


def interval(values: Sequence[float], level: float) -> tuple[float, float, float]:
    """Mean of some values and its Student interval.

    Args:
        values: One value for each draw, at least 2.
        level: Confidence level, in (0, 1).

    Returns:
        Mean, lower end and upper end; the ends equal the mean if all values are equal.
    """
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(stats.t.ppf(0.5 + level / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def compare(runs: pd.DataFrame, measured: str, level: float) -> pd.DataFrame:
    """Compare every strategy with one_shot, paired by draw.

    Args:
        runs: Table of the study's runs.
        measured: Column of the accuracy.
        level: Confidence level of the intervals.

    Returns:
        A table with the columns tuner, strategy, ratio, top1 and base (means over the draws), difference with low and
        high, winner (strategy, one_shot, or neither if the interval contains 0), overlap, work and base_work (mean
        epochs or solver iterations).
    """
    rows = []
    numbers = ["overlap", "work"]
    for (tuner, ratio), group in runs[runs["strategy"] != "start"].groupby(["tuner", "ratio"], sort=False):
        means = group.groupby("strategy")[numbers].mean().to_dict("index")
        by_draw = group.pivot_table(index="draw", columns="strategy", values=measured, sort=False)
        for strategy in [name for name in by_draw.columns if name != "one_shot"]:
            mean, low, high = interval((by_draw[strategy] - by_draw["one_shot"]).tolist(), level)
            rows.append(
                {
                    "tuner": tuner,
                    "strategy": strategy,
                    "ratio": ratio,
                    "top1": float(by_draw[strategy].mean()),
                    "base": float(by_draw["one_shot"].mean()),
                    "difference": mean,
                    "low": low,
                    "high": high,
                    "winner": strategy if low > 0 else "one_shot" if high < 0 else "neither",
                    "overlap": means[strategy]["overlap"],
                    "work": means[strategy]["work"],
                    "base_work": means["one_shot"]["work"],
                }
            )
    return pd.DataFrame(rows)


def verdict(comparison: pd.DataFrame, level: float) -> list[str]:
    """Describe in sentences which strategy wins at which ratios, and whether this agrees with the published claim.

    Args:
        comparison: From :func:`compare`.
        level: Confidence level of its intervals.
    """
    chance = (1 - level) * len(comparison)
    said = [CLAIM, f"{len(comparison)} comparisons, of which about {chance:.1f} leave the interval by chance alone"]
    for (tuner, strategy), rows in comparison.groupby(["tuner", "strategy"], sort=False):
        parts = [f"{name} at {_list(found)}" for name in (str(strategy), "one_shot") if (found := _where(rows, name))]
        times = rows["work"].sum() / max(rows["base_work"].sum(), 1e-9)
        said.append(
            f"{tuner}, {strategy} against one_shot, better beyond the interval: {'; '.join(parts) or 'neither'}. The "
            f"two keep {rows['overlap'].min():.0%} to {rows['overlap'].max():.0%} of their units alike; {strategy} "
            f"worked {times:.1f} times as long"
        )
        if strategy == "iterative":
            said.append(f"{tuner}: {_held(rows)}")
    return said


def _held(rows: pd.DataFrame) -> str:
    low = "holds" if any(ratio <= LOW for ratio in _where(rows, "one_shot")) else "is not seen"
    high = "holds" if any(ratio >= HIGH for ratio in _where(rows, "iterative")) else "is not seen"
    against = [ratio for ratio in _where(rows, "iterative") if ratio <= LOW]
    against += [ratio for ratio in _where(rows, "one_shot") if ratio >= HIGH]
    ending = f"; the opposite is seen at {_list(against)}" if against else ""
    return f"that one-shot is better at ratios <= {LOW} {low}, that iterative is at ratios >= {HIGH} {high}{ending}"


def _where(rows: pd.DataFrame, winner: str) -> list[float]:
    return [float(ratio) for ratio in rows.loc[rows["winner"] == winner, "ratio"]]


def _list(ratios: Sequence[float]) -> str:
    return ", ".join(f"{ratio:g}" for ratio in ratios)
