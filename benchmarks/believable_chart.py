"""Draws accuracy against each property of prototypes, from the table of benchmarks.believable."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

STYLES: Mapping[str, tuple[str, str, str]] = {
    "before": ("free codes, ten a class (before)", "#000000", "X"),
    "narrow": ("narrow codes that agree, free", "#e69f00", "v"),
    "mixtures": ("these as mixtures of 16 patches", "#56b4e9", "s"),
    "default": ("default: also steadiness", "#0072b2", "o"),
    "few": ("mixtures of 4", "#009e73", "^"),
    "medoids": ("single patches", "#d55e00", "D"),
    "whole": ("default, whole photo squashed", "#cc79a7", "P"),
    "object": ("default, seeded on the object by masks", "#999933", "*"),
}
"""Words, colour (of Okabe and Ito, safe for colour-blind readers) and marker of each variant."""
AXES: Mapping[str, str] = {
    "purity": "purity: best boxes with the same part",
    "holding": "boxes that hold a part",
    "off": "patches off the object",
    "nearest": "cosine with the nearest patch",
    "stays": "first prototype stays",
}


def draw(lines: pd.DataFrame, path: Path) -> None:
    """Draw a row of panels for each data set: test accuracy over each property that was measured there.

    Args:
        lines: From ``summary``; filled markers are models of five prototypes per class, hollow ones of the rule.
        path: The picture.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(lines["data"]))
    size = (3.0 * len(AXES), 3.0 * len(names) + 0.6)
    figure, panels = plt.subplots(
        len(names), len(AXES), figsize=size, squeeze=False, sharey="row", layout="constrained"
    )
    for row, name in zip(panels, names, strict=True):
        own = lines[lines["data"] == name]
        for panel, (column, title) in zip(row, AXES.items(), strict=True):
            _panel(panel, own, column)
            panel.set_xlabel(title, fontsize=9)
        row[0].set_ylabel(f"{name}: test accuracy, %", fontsize=9)
    shown = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, ls="", label=words)
        for words, colour, marker in (STYLES[name] for name in STYLES if name in set(lines["variant"]))
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(panel: Any, lines: pd.DataFrame, column: str) -> None:
    for line in lines.dropna(subset=[column]).to_dict("records"):
        _, colour, marker = STYLES[line["variant"]]
        test, inside = 100 * line["test"], colour if line["asked"] else "none"
        errors = [[test - 100 * line["low"]], [100 * line["high"] - test]]
        panel.errorbar(line[column], test, errors, color=colour, lw=0.6, alpha=0.5)
        panel.plot(line[column], test, marker=marker, ms=7, color=colour, mfc=inside, ls="")
    if lines[column].isna().all():
        panel.text(0.5, 0.5, "not measured: no masks", transform=panel.transAxes, ha="center", fontsize=8, color="0.5")
    panel.grid(visible=True, color="0.92")
    panel.spines[["top", "right"]].set_visible(False)
