"""The picture of a sweep, for places that show no page."""

from pathlib import Path

import pandas as pd

from protoquant.sweep.choice import Choice, front
from protoquant.sweep.page.charts import colours_of


def draw(trials: pd.DataFrame, surface: pd.DataFrame, choice: Choice, path: Path) -> None:
    """Draw validation accuracy against prototypes per class, coloured by the number of codes.

    Args:
        trials: The table of trials, one done at least.
        surface: The table of heads.
        choice: The winner; it gets a ring.
        path: A PNG; the same tables give the same bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    done = trials[trials["state"] == "done"]
    colours = colours_of(done)
    figure = Figure(figsize=(8, 5), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heads = surface[~surface["final"].astype(bool) & surface["trial"].isin(done["trial"]) & (surface["class_size"] > 0)]
    for (trial, _), rows in heads.groupby(["trial", "temperature"], sort=False):
        ordered = rows.sort_values("class_size")
        axes.plot(ordered["class_size"], 100 * ordered["validation_top1"], color=colours[str(trial)], alpha=0.4, lw=1)
    best = done[done["trial"].isin(front(trials))].sort_values("class_size")
    axes.plot(best["class_size"], 100 * best["validation_top1"], color="#d1495b", lw=1, ls=":", label="front")
    for row in done.to_dict("records"):
        chosen = row["trial"] == choice.trial
        axes.scatter(
            row["class_size"],
            100 * row["validation_top1"],
            s=110 if chosen else 50,
            color=colours[row["trial"]],
            edgecolor="#d1495b" if chosen else "white",
            linewidth=2.5 if chosen else 0.7,
            zorder=3,
            label="chosen" if chosen else None,
        )
    for size in sorted(set(done["k"])):
        trial = str(done[done["k"] == size]["trial"].iloc[0])
        axes.scatter([], [], color=colours[trial], label=f"{size:,.0f} codes")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("prototypes per class (mean)")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(color="#e3e5e6")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})
