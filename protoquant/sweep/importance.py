"""How much of the differences between trials each searched key accounts for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

LEAST = 4
"""Fewer done trials say nothing of importance."""


def importance(trials: pd.DataFrame, keys: Sequence[str], target: str = "validation_top1") -> dict[str, float]:
    """Share of the variance of a number that the mean over all other keys leaves to each key.

    The main effect of a key, of trials put into at most four groups by its value: the variance of the groups' means,
    weighted by their sizes, less what groups of that size would show by chance (omega squared), over the variance of
    all trials. What keys do together belongs to none, so shares need not add up to 1. It is fair for grids; of trials
    that TPE drew where others were good it tells about that region.

    Args:
        trials: The table of trials.
        keys: The searched keys.
        target: The number that is explained.

    Returns:
        A share in [0, 1] for each key, largest first; empty with fewer than ``LEAST`` done trials or equal numbers.
    """
    done = trials[trials["state"] == "done"]
    values = done[target].astype(float)
    total = float(((values - values.mean()) ** 2).sum())
    if len(done) < LEAST or total == 0.0:
        return {}
    shares = {key: _share(_groups(done[key]), values, total) for key in keys}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _share(groups: pd.Series, values: pd.Series, total: float) -> float:
    by = values.groupby(groups.to_numpy())
    between = float((by.size() * (by.mean() - values.mean()) ** 2).sum())
    free = len(by) - 1
    left = len(values) - len(by)
    if free == 0:
        return 0.0
    if left == 0:
        # Every trial has a value of its own: nothing tells effect from chance.
        return between / total
    noise = (total - between) / left
    return min(1.0, max(0.0, (between - free * noise) / (total + noise)))


def _groups(column: pd.Series) -> pd.Series:
    """At most four groups of numbers, by their order; anything else by its text."""
    text = column.map(repr)
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any() or numbers.nunique() <= 4:
        return text
    return (numbers.rank(method="dense", pct=True) * 4).clip(lower=1e-9).map(lambda rank: -(-rank // 1)).astype(int)
