"""Draws the regret of rules that choose a head, from the tables of benchmarks.regret."""

from pathlib import Path
from typing import Any

import pandas as pd

STYLES = {
    "old": ("validation alone, within a point", "#d55e00", "v"),
    "one_se": ("cross-fitted, one standard error", "#0072b2", "o"),
    "tolerance": ("cross-fitted, within a point", "#009e73", "s"),
}
"""Words, colour (of Okabe and Ito, safe for colour-blind readers) and marker of each rule."""


def draw(heads: pd.DataFrame, regrets: pd.DataFrame, path: Path) -> None:
    """Draw the heads on test of each data set of one draw with the choices, and the regrets of those of many draws."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(heads["data"]))
    figure, panels = plt.subplots(1, len(names), figsize=(5.0 * len(names), 4.6), squeeze=False, layout="constrained")
    for panel, name in zip(panels[0], names, strict=True):
        own, chosen = heads[heads["data"] == name], regrets[regrets["data"] == name]
        if own["draw"].nunique() == 1:
            _curves(panel, own, chosen)
        else:
            _strips(panel, chosen)
        draws = own["draw"].nunique()
        panel.set_title(f"{name}: {draws} draw{'' if draws == 1 else 's'}", fontsize=11)
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    shown = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, ls="", label=words)
        for words, colour, marker in STYLES.values()
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _curves(panel: Any, heads: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Accuracy on test by size, a line for each temperature, and the chosen heads."""
    for (temperature, line), grey in zip(heads.groupby("temperature"), ("0.35", "0.65"), strict=False):
        panel.plot(line["size"], 100 * line["test_top1"], color=grey, marker=".", label=f"temperature {temperature:g}")
    for number, (rule, (_, colour, marker)) in enumerate(STYLES.items()):
        taken = chosen[chosen["rule"] == rule]
        panel.plot(
            taken["size"], 100 * taken["test_top1"], color=colour, marker=marker, ms=13 - 3 * number, ls="", mfc="none",
            mew=2,
        )  # fmt: skip
    panel.set_xscale("log")
    panel.set_xticks(sorted(set(heads["size"])), [f"{size:g}" for size in sorted(set(heads["size"]))])
    panel.minorticks_off()
    panel.set_xlabel("prototypes per class (logarithmic axis)")
    panel.set_ylabel("accuracy on test, %")
    panel.legend(frameon=False, fontsize=9)


def _strips(panel: Any, chosen: pd.DataFrame) -> None:
    """Regret of every draw by rule, joined within a draw, and the means."""
    places = {rule: number for number, rule in enumerate(STYLES)}
    for _, own in chosen.groupby("draw"):
        panel.plot([places[rule] for rule in own["rule"]], 100 * own["regret"], color="0.85", lw=1, zorder=1)
    for rule, (_, colour, marker) in STYLES.items():
        values = 100 * chosen[chosen["rule"] == rule]["regret"]
        panel.plot([places[rule]] * len(values), values, color=colour, marker=marker, ls="", mfc="none", zorder=2)
        panel.plot([places[rule] - 0.2, places[rule] + 0.2], [values.mean()] * 2, color=colour, lw=2.5, zorder=3)
        panel.annotate(f"{values.mean():.2f}", (places[rule] + 0.22, values.mean()), va="center", fontsize=9)
    panel.set_xticks(range(len(STYLES)), ["validation", "one_se", "tolerance"])
    panel.set_xlim(-0.5, len(STYLES) - 0.3)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("regret on test, points (bar: mean)")
