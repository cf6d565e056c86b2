"""Figures of pruning, with pure functions for their numbers and others that draw them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from protoquant.pages.palette import SERIES
from protoquant.pages.pictures import save_figure
from protoquant.prune.study.compare import interval

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {"one_shot": "one-shot", "iterative": "iterative", "patience": "iterative, patience", "hybrid": "hybrid"}
TUNERS = {"refit": "convex refit after each cut", "gradient": "gradient fine-tuning after each cut"}
_LOOKS = {
    "one_shot": (SERIES[0], "o", "-"),
    "iterative": (SERIES[1], "s", "-"),
    "patience": (SERIES[2], "^", "--"),
    "hybrid": (SERIES[3], "D", ":"),
}
_GREY = "#666666"


@dataclass(frozen=True)
class StrategyCurve:
    """A strategy's curve in a panel; all tuples have the same length.

    Attributes:
        strategy: Name of the strategy.
        ratios: Shares removed.
        values: Means over the draws.
        low: Lower ends of the intervals.
        high: Upper ends of the intervals.
    """

    strategy: str
    ratios: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One method of fine-tuning: mean accuracy at the start, accuracies, and differences from one-shot."""

    tuner: str
    start: float
    accuracies: tuple[StrategyCurve, ...]
    differences: tuple[StrategyCurve, ...]


def study_panels(runs: pd.DataFrame, comparison: pd.DataFrame, measured: str, level: float) -> tuple[Panel, ...]:
    """The numbers of the study's figure.

    Args:
        runs: Table of the study's runs.
        comparison: Table from :func:`protoquant.prune.study.compare.compare`.
        measured: Column of the accuracy.
        level: Confidence level of the intervals.
    """
    panels = []
    for tuner, rows in runs.groupby("tuner", sort=False):
        cut = rows[rows["strategy"] != "start"]
        accuracies = []
        for strategy, own in cut.groupby("strategy", sort=False):
            found = own.groupby("ratio")[measured].apply(list)
            ends = [interval(values, level) for values in found]
            accuracies.append(_line(str(strategy), found.index.tolist(), ends))
        apart = comparison[comparison["tuner"] == tuner]
        differences = [
            _line(str(name), own["ratio"].tolist(), own[["difference", "low", "high"]].to_numpy().tolist())
            for name, own in apart.groupby("strategy", sort=False)
        ]
        start = float(rows.loc[rows["strategy"] == "start", measured].mean())
        panels.append(Panel(str(tuner), start, tuple(accuracies), tuple(differences)))
    return tuple(panels)


@dataclass(frozen=True)
class Steps:
    """A plan's steps: ratios, prototypes, accuracies before and after fine-tuning, and the index of the chosen step."""

    ratios: tuple[float, ...]
    prototypes: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    chosen: int


def plan_steps(table: pd.DataFrame) -> Steps:
    """The numbers of a plan's figure, from its table."""
    return Steps(
        tuple(table["ratio"].tolist()),
        tuple(table["prototypes"].tolist()),
        tuple(table["top1_before"].tolist()),
        tuple(table["validation_top1"].tolist()),
        int(table["selected"].argmax()),
    )


def draw_steps(steps: Steps, n: int, path: Path) -> None:
    """Draw a plan's steps.

    Args:
        steps: The numbers.
        n: Number of validation images.
        path: The PNG file to write.
    """
    figure = _figure(7.0, 4.4)
    axes = figure.subplots()
    axes.plot(steps.ratios, steps.after, color=SERIES[1], marker="o", label="after fine-tuning")
    if steps.before != steps.after:
        axes.plot(steps.ratios, steps.before, color=SERIES[0], marker="x", ls=":", label="before fine-tuning")
    place = steps.chosen
    axes.plot(
        steps.ratios[place],
        steps.after[place],
        ls="none",
        marker="o",
        ms=15,
        mfc="none",
        mec="#222222",
        mew=1.6,
        label=f"taken: {steps.prototypes[place]} prototypes, accuracy {steps.after[place]:.1%}",
    )
    axes.set_xlabel("share removed")
    axes.set_ylabel(f"accuracy on validation (n = {n:,})")
    _percent(axes, "xy")
    axes.legend(frameon=False, loc="lower left")
    _save(figure, path)


def draw_study(panels: tuple[Panel, ...], caption: str, measured: str, path: Path) -> None:
    """Draw the study: accuracies above, differences from one-shot below, one column for each method of fine-tuning.

    Args:
        panels: The numbers.
        caption: Caption, which states what the intervals are over.
        measured: Column of the accuracy, as in ``test_top1``.
        path: The PNG file to write.
    """
    split = measured.removesuffix("_top1")
    figure = _figure(5.4 * len(panels) + 0.6, 7.4)
    grid = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
    for column, panel in enumerate(panels):
        top, bottom = grid[0, column], grid[1, column]
        top.axhline(panel.start, color=_GREY, lw=1, ls=(0, (5, 3)))
        top.set_title(TUNERS[panel.tuner], fontsize=12)
        top.annotate(
            f"before any cut {panel.start:.1%}",
            (0.98, panel.start),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            color=_GREY,
            fontsize=9,
            ha="right",
        )
        bottom.axhline(0.0, color=_LOOKS["one_shot"][0], lw=1.2)
        for number, line in enumerate(panel.accuracies):
            _draw_line(top, line, number)
        for number, line in enumerate(panel.differences):
            _draw_line(bottom, line, number + 1)
        bottom.set_xlabel("share removed")
        _percent(top, "y")
        _percent(bottom, "x")
        bottom.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}" if abs(value) > 1e-9 else "0")
    grid[0, 0].set_ylabel(f"accuracy on {split}")
    grid[1, 0].set_ylabel("points above one-shot")
    handles = {label: handle for ax in grid[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = [NAMES[name] for name in _LOOKS if NAMES[name] in handles]
    figure.legend([handles[name] for name in order], order, loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel(caption, fontsize=9, color=_GREY)
    _save(figure, path)


def _line(strategy: str, ratios: list[float], ends: list[Any]) -> StrategyCurve:
    values, low, high = zip(*ends, strict=True)
    return StrategyCurve(strategy, tuple(ratios), tuple(values), tuple(low), tuple(high))


def _draw_line(axes: Any, line: StrategyCurve, number: int) -> None:
    """Draw points with their intervals, shifted slightly sideways so that none hides another."""
    colour, marker, style = _LOOKS[line.strategy]
    moved = [ratio + 0.006 * (number - 1.5) for ratio in line.ratios]
    reach = [[value - low for value, low in zip(line.values, line.low, strict=True)]]
    reach.append([high - value for value, high in zip(line.values, line.high, strict=True)])
    axes.errorbar(
        moved,
        line.values,
        yerr=reach,
        color=colour,
        marker=marker,
        ls=style,
        ms=5,
        lw=1.6,
        elinewidth=1,
        capsize=2,
        label=NAMES[line.strategy],
    )


def _percent(axes: Any, which: str) -> None:
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if math.isfinite(value) else "")


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def _save(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        axes.grid(visible=True, color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
