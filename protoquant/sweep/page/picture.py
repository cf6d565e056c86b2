"""Draws the picture of a sweep, for places that cannot show its page."""

from pathlib import Path

import pandas as pd

from protoquant.pages.axes import ACCURACY, SIZE
from protoquant.pages.palette import CHOSEN, LINE
from protoquant.pages.pictures import save_figure
from protoquant.sweep.choice import Choice, front
from protoquant.sweep.page.size_chart import size_chart


def draw(trials: pd.DataFrame, surface: pd.DataFrame, choice: Choice, out: Path) -> None:
    """Draw accuracy on held-out images against prototypes per class, coloured by the number of codes.

    Args:
        trials: The table of trials, at least one of them done.
        surface: The table of heads.
        choice: The winner, which is marked with a ring.
        out: The PNG to write; the same tables give the same bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = size_chart(trials, surface, front(trials))
    figure = Figure(figsize=(8, 5), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for path in shown.paths:
        axes.plot(path.heads["class_size"], 100 * path.heads["accuracy"], color=path.colour, alpha=0.4, lw=1)
    best = shown.front
    axes.plot(best["class_size"], 100 * best["accuracy"], color=CHOSEN, lw=1, ls=":", label="front")
    for row in shown.done.to_dict("records"):
        chosen = row["trial"] == choice.trial
        axes.scatter(
            row["class_size"],
            100 * row["accuracy"],
            s=110 if chosen else 50,
            color=shown.colours[row["trial"]],
            edgecolor=CHOSEN if chosen else "white",
            linewidth=2.5 if chosen else 0.7,
            zorder=3,
            label="chosen" if chosen else None,
        )
    for size, trial in sorted(dict(zip(shown.done["k"], shown.done["trial"], strict=True)).items()):
        axes.scatter([], [], color=shown.colours[trial], label=f"{size:,.0f} codes")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(SIZE)
    axes.set_ylabel(ACCURACY)
    axes.grid(color=LINE)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, out)
