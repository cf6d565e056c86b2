"""The tables of benchmarks.tuned: each method over its seeds, and the gain of each step from the paper to ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64

from benchmarks.intervals import interval, of_images
from benchmarks.recipes import Measured
from benchmarks.search_spaces import SEARCHES

TITLES = {"paper": "paper, ImageNet values", "fast": "ours, default"}
TITLES |= {name: search.title for name, search in SEARCHES.items()}
METHODS = ("paper", "paper-frozen", "paper-trained", "fast", "joint", "ours")
"""Rows of the first table, in order."""
STEPS = ("paper", "paper-frozen", "class-aware", "convex", "joint", "ours")
"""Lines of the second table; each is compared with the one before."""
STEP_TITLES = {**TITLES, "joint": "+ joint training", "ours": "+ other layers (ours, tuned)"}


@dataclass(frozen=True)
class Found:
    """What was measured for a method, a data set, a seed and a budget.

    Attributes:
        name: A key of TITLES.
        model: The model on test.
        cpu: CPU seconds of the search, or of the one model.
        trials: Number of trials.
        failed: Trials that gave no model.
        setting: Values of the picked trial; empty if nothing was searched.
    """

    name: str
    model: Measured
    cpu: float
    trials: int
    failed: int
    setting: dict[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """The picked setting with its accuracies, as a row."""
        model = self.model
        place = {"data": model.data, "seed": model.seed, "budget": model.budget, "method": TITLES[self.name]}
        numbers = {"validation_top1": model.validation_top1, "test_top1": model.test_top1, "cpu": self.cpu}
        return {**place, **numbers, "trials": self.trials, "failed": self.failed, **self.setting}


@dataclass(frozen=True)
class Row:
    """All seeds of a method at one budget.

    Attributes:
        table: methods or steps.
        data: Name of the data set.
        method: Title of the method.
        budget: Prototypes per class asked for.
        class_size: Mean prototypes per class.
        seeds: Number of seeds.
        n: Test images in all; images that seeds share count once.
        top1: Mean accuracy on test.
        low: Lower end of its interval.
        high: Upper end.
        least: Accuracy of the worst seed.
        most: Accuracy of the best seed.
        gain: Accuracy above the line before (steps), above the paper's values for ImageNet (methods); NaN without one.
        gain_low: Lower end of its interval, paired by image.
        gain_high: Upper end.
        search_cpu: Mean CPU seconds of a search, or of the one model.
        model_cpu: Mean CPU seconds of the model that was measured.
    """

    table: str
    data: str
    method: str
    budget: int
    class_size: float
    seeds: int
    n: int
    top1: float
    low: float
    high: float
    least: float
    most: float
    gain: float
    gain_low: float
    gain_high: float
    search_cpu: float
    model_cpu: float


def summarise(found: Sequence[Found]) -> list[Row]:
    """The first table: the methods, each above the paper's values for ImageNet."""
    return _rows(found, "methods", METHODS, dict.fromkeys(METHODS, METHODS[0]), TITLES)


def gains(found: Sequence[Found]) -> list[Row]:
    """The second table: the steps from the paper's values to ours, each above the one before that was measured."""
    names = [name for name in STEPS if any(one.name == name for one in found)]
    return _rows(found, "steps", names, dict(zip(names[1:], names, strict=False)), STEP_TITLES)


def _rows(
    found: Sequence[Found], table: str, names: Sequence[str], above: dict[str, str], titles: dict[str, str]
) -> list[Row]:
    groups = {
        (data, budget): [one for one in found if (one.model.data, one.model.budget) == (data, budget)]
        for data, budget in dict.fromkeys((one.model.data, one.model.budget) for one in found)
    }
    rows = []
    for group in groups.values():
        for name in names:
            own = [one for one in group if one.name == name]
            if own:
                base = [one for one in group if one.name == above.get(name) and name != above.get(name)]
                rows.append(_row(table, titles[name], own, base))
    return rows


def _row(table: str, title: str, own: Sequence[Found], base: Sequence[Found]) -> Row:
    """Combine the seeds of a method, and pair its answers with those of another.

    Raises:
        ValueError: The two have not the same seeds, or not the same test images.
    """
    images = [one.model.images for one in own]
    right = of_images([_bits(one) for one in own], images)
    gain = (float("nan"),) * 3
    if base:
        if [(one.model.seed, one.model.images) for one in base] != [(one.model.seed, one.model.images) for one in own]:
            raise ValueError(f"{title} was measured on other seeds or test images than what it is compared with")
        apart = right - of_images([_bits(one) for one in base], images)
        gain = (float(apart.mean()), *interval(apart))
    accuracies = [one.model.test_top1 for one in own]
    return Row(
        table,
        own[0].model.data,
        title,
        own[0].model.budget,
        float(np.mean([one.model.class_size for one in own])),
        len(own),
        len(right),
        float(right.mean()),
        *interval(right),
        min(accuracies),
        max(accuracies),
        *gain,
        float(np.mean([one.cpu for one in own])),
        float(np.mean([one.model.cpu for one in own])),
    )


def _bits(one: Found) -> Int64[np.ndarray, " n"]:
    return np.frombuffer(one.model.right.encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def text(methods: Sequence[Row], steps: Sequence[Row]) -> str:
    """Return both tables as text."""
    head = f"{'data':<14} {'':<32} {'asked':>5} {'per class':>9} {'n':>6}  {'test top-1':<24} {'seeds':<19}"
    cost = f"{'CPU s in all':>12} {'one model':>9}"
    parts = []
    for title, rows in (("points above paper's values", methods), ("points above the line before", steps)):
        parts += ["", f"{head} {title:<28} {cost}", *(_line(row) for row in rows)]
    return "\n".join(parts[1:])


def _line(row: Row) -> str:
    gain = f"{100 * row.gain:+.2f} ({100 * row.gain_low:+.2f} to {100 * row.gain_high:+.2f})"
    return (
        f"{row.data:<14} {row.method:<32} {row.budget:>5} {row.class_size:>9.1f} {row.n:>6,}  "
        f"{f'{row.top1:.4f} ({row.low:.4f} to {row.high:.4f})':<24} "
        f"{f'{row.seeds}: {row.least:.4f} to {row.most:.4f}':<19} {'' if np.isnan(row.gain) else gain:<28} "
        f"{row.search_cpu:>12.0f} {row.model_cpu:>9.0f}"
    )
