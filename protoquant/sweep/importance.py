"""Computes how much of the difference between trials each searched key accounts for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

LEAST = 6
"""Importance is not computed for fewer done trials."""

_GROUPS = 4


def importance(trials: pd.DataFrame, keys: Sequence[str], target: str = "accuracy") -> dict[str, float]:
    """Return each key's share of the variance of a number, with all other keys averaged out.

    A share is the main effect of a key. Trials are put into at most four groups by the key's value; the share is the
    variance of the groups' means, weighted by their sizes, less what groups of that size would show by chance (omega
    squared), over the variance of all trials. Interactions belong to no key, so shares need not add up to 1. The result
    is fair for grids; for trials that TPE drew near good ones, it describes only that region.

    Args:
        trials: The table of trials.
        keys: The searched keys.
        target: The number that is explained.

    Returns:
        A share in [0, 1] for each key, largest first; empty with one key, fewer than ``LEAST`` done trials or equal
        numbers.
    """
    done = trials[trials["state"] == "done"]
    values = done[target].astype(float)
    total = float(((values - values.mean()) ** 2).sum())
    if len(keys) < 2 or len(done) < LEAST or total == 0.0:
        return {}
    shares = {key: _share(_groups(done[key]), values, total) for key in keys}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _share(groups: pd.Series, values: pd.Series, total: float) -> float:
    by = values.groupby(groups.to_numpy())
    between = float((by.size() * (by.mean() - values.mean()) ** 2).sum())
    free = len(by) - 1
    noise = (total - between) / (len(values) - len(by))
    return min(1.0, max(0.0, (between - free * noise) / (total + noise)))


def _groups(column: pd.Series) -> pd.Series:
    """Put values into at most four groups: numbers by their order, anything else by its text."""
    text = column.map(repr)
    numbers = pd.to_numeric(column, errors="coerce")
    if text.nunique() <= _GROUPS:
        return text
    if numbers.isna().any():
        kept = text.value_counts().index[: _GROUPS - 1]
        return text.where(text.isin(kept), "other")
    return (
        (numbers.rank(method="dense", pct=True) * _GROUPS).clip(lower=1e-9).map(lambda rank: -(-rank // 1)).astype(int)
    )
