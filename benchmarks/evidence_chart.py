"""Draws what prototypes look at: a panel for each measurement, a row for each data set and recipe, chance as a bar."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

PANELS = {
    "purity.fixed.mean": "same part in the ten surest\ntest images (purity)",
    "evidence.cell.off": "evidence beside the object\n(lower is better)",
    "stability.top_prototype": "first prototype stays under\nsmall changes",
    "topk.mask.area": "accuracy with few weights\n(mean over ln k)",
}
COLOURS = {"before": "#332288", "fast": "#0072b2", "paper": "#d55e00", "kmeans": "#009e73", "random": "#555555"}


def draw(rows: pd.DataFrame, names: Mapping[str, str], out: Path) -> None:
    """Draw the means over seeds, with the range of the seeds, and what chance would give.

    Args:
        rows: As in ``evidence.csv``.
        names: Names of the recipes.
        out: The picture.
    """
    cases = list(dict.fromkeys(zip(rows["data"], rows["recipe"], strict=True)))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 1.4 + 0.4 * len(cases)), sharey=True)
    for panel, (path, title) in zip(axes, PANELS.items(), strict=True):
        for place, (data, recipe) in enumerate(cases):
            own = rows[(rows["metric"] == path) & (rows["data"] == data) & (rows["recipe"] == recipe)]
            if own.empty:
                panel.text(2, place, "not measured", va="center", fontsize=8, color="#777777")
                continue
            value, spread = 100 * own["value"].mean(), 100 * own["value"]
            panel.plot([spread.min(), spread.max()], [place, place], color=COLOURS[recipe], linewidth=2)
            panel.plot(value, place, "o", color=COLOURS[recipe], markersize=7)
            panel.text(value, place - 0.22, f"{value:.0f}", ha="center", va="bottom", fontsize=8, color=COLOURS[recipe])
            if own["chance"].notna().any():
                panel.plot(100 * own["chance"].mean(), place, "|", color="black", markersize=12, markeredgewidth=2)
        panel.set_title(title, fontsize=10)
        panel.set_xlim(0, 108)
        panel.set_xlabel("%")
        panel.grid(axis="x", color="#e5e5e5")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(cases)), [f"{data}: {names[recipe]}" for data, recipe in cases], fontsize=9)
    axes[0].set_ylim(len(cases) - 0.5, -0.9)
    figure.text(0.995, 0.01, "black bar: the same for cells drawn at random", ha="right", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(out, dpi=110)
    plt.close(figure)
