"""The accuracy curve over class budgets, which shows how few prototypes per class suffice."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from protoquant.core.events import ignore
from protoquant.head.prune_plan import PrunePlan
from protoquant.prune.engine import Start, prune
from protoquant.prune.measure import HeadCompactness, quality, size

MASKED, TUNED = "mask, as it is", "compact, fine-tuned"


def budget_curve(budgets: Sequence[int], start: Start) -> pd.DataFrame:
    """Cut the head to each budget, always starting from the unpruned head.

    Args:
        budgets: Weights per class; budgets that no class exceeds are left out.
        start: The unpruned head; the convex solver fine-tunes.

    Returns:
        A table with the columns way (masked without fine-tuning, or compact with it), budget, prototypes, class_size,
        local_size and validation_top1; budget 0 is the head without a limit.
    """
    whole = start.rescore(torch.arange(start.head.shape[1], device=start.head.device), None)["validation"]
    most = int((start.head > 0).sum(dim=1).max())
    rows = []
    for way in (MASKED, TUNED):
        for budget in (one for one in budgets if one < most):
            plan = PrunePlan.top_k(budget)
            if way == TUNED:
                plan = plan.model_copy(update={"finetune": "last", "semantics": "compact"})
            found = prune(plan, start, ignore).row
            rows.append(_row(way, budget, found.size, found.after.top1))
        rows.append(_row(way, 0, size(whole, start.head), quality(whole, start.head).top1))
    return pd.DataFrame(rows)


def area(budgets: Sequence[int], top1s: Sequence[float]) -> float:
    """Mean height of the accuracy curve over the log of the budget.

    Args:
        budgets: Rising budgets, at least two.
        top1s: Accuracy at each budget, in [0, 1].

    Returns:
        Area under the curve over ln(budget) by the trapezoidal rule, divided by its width; in [0, 1].
    """
    logs = np.log(np.asarray(budgets, dtype=np.float64))
    return float(np.trapezoid(np.asarray(top1s, dtype=np.float64), logs) / (logs[-1] - logs[0]))


def areas(curve: pd.DataFrame) -> dict[str, float]:
    """The area of each way with at least two budgets."""
    found = {}
    for way, rows in curve[curve["budget"] > 0].groupby("way", sort=False):
        if len(rows) > 1:
            found[str(way)] = area(rows["budget"].tolist(), rows["validation_top1"].tolist())
    return found


def _row(way: str, budget: int, small: HeadCompactness, top1: float) -> dict[str, float | int | str]:
    return {
        "way": way,
        "budget": budget,
        "prototypes": small.prototypes,
        "class_size": small.class_size,
        "local_size": small.local_size,
        "validation_top1": top1,
    }
