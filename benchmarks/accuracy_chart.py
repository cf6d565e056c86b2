"""Draws accuracy against prototypes per class, from the table of benchmarks.accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.accuracy import Summary

FEW = 500
"""Data sets with fewer test images are in the table alone, unless there are no others: their intervals are too wide."""


@dataclass(frozen=True)
class _Style:
    """How a recipe is named and drawn; those without a marker have no prototypes and are lines across."""

    name: str
    colour: str
    marker: str = ""
    line: str = "-"
    aside: float = 1.0
    """Factor that keeps intervals at one budget from overlapping."""


STYLES: Mapping[str, _Style] = {
    "fast": _Style("ours (default)", "#0072b2", "o"),
    "before": _Style("ours, last layer alone", "#332288", "o", line=":", aside=1.02),
    "convex": _Style("ours, codes not trained", "#56b4e9", "^", aside=1.03),
    "kmeans": _Style("k-means codes, not trained", "#009e73", "v", aside=0.97),
    "paper": _Style("paper, ImageNet values", "#d55e00", "s", aside=0.94),
    "random": _Style("random codes", "#999999", "X", aside=1.06),
    "protopnet": _Style("ProtoPNet-style", "#cc79a7", "D", aside=1.12),
    "pipnet": _Style("PIP-Net-style", "#b08900", "P"),
    "probe": _Style("linear probe", "0.25", line="--"),
    "neighbours": _Style("k-NN", "0.25", line="-."),
    "mean": _Style("nearest class mean", "0.25", line=":"),
}
"""Colours of Okabe and Ito, safe for colour-blind readers."""


def draw(rows: Sequence[Summary], path: Path) -> None:
    """Draw accuracy against prototypes per class, with a panel for each data set of enough test images.

    Random codes lie so far below that they are words under the others.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row.data for row in rows if row.n >= FEW)) or list({row.data for row in rows})
    figure, panels = plt.subplots(1, len(names), figsize=(5.2 * len(names), 5.2), squeeze=False, layout="constrained")
    shown = {}
    for panel, name in zip(panels[0], names, strict=True):
        own = [row for row in rows if row.data == name]
        for recipe, style in STYLES.items():
            line = sorted((row for row in own if row.recipe == recipe), key=lambda row: row.class_size)
            if line and recipe == "random":
                ends = f"{100 * line[0].top1:.0f} to {100 * line[-1].top1:.0f} %"
                panel.text(
                    0.98, 0.02, f"below: random codes, {ends}", ha="right", transform=panel.transAxes, fontsize=9
                )
            elif line:
                shown[style.name] = _draw_recipe(panel, line, style)
        panel.set_xscale("log")
        ticks = sorted({row.budget for row in own if row.budget} | {40})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.margins(y=0.1)
        panel.set_xlabel("prototypes per class (mean, logarithmic axis)")
        panel.set_ylabel("accuracy on n test images, % (bars: 95 % interval)")
        seeds, n = (_range(getattr(row, what) for row in own) for what in ("seeds", "n"))
        panel.set_title(f"{name}: {seeds} seed{'' if seeds == '1' else 's'}, n = {n}", fontsize=11)
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_recipe(panel: Any, line: Sequence[Summary], style: _Style) -> Any:
    """Draw one recipe of one data set, and return what stands for it in the legend."""
    if not style.marker:
        return panel.axhline(100 * line[0].top1, color=style.colour, ls=style.line, lw=1.2)
    middle = [100 * row.top1 for row in line]
    ends = [[100 * (row.top1 - row.low) for row in line], [100 * (row.high - row.top1) for row in line]]
    sizes = [style.aside * row.class_size for row in line]
    return panel.errorbar(sizes, middle, yerr=ends, color=style.colour, marker=style.marker, capsize=3, lw=1.6)


def _range(numbers: Iterable[int]) -> str:
    """Return the number, or the least and the most if a run has not finished all seeds."""
    found = sorted(set(numbers))
    return " to ".join(f"{number:,}" for number in dict.fromkeys((found[0], found[-1])))
