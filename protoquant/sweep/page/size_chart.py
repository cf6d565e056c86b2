"""Collects the data of the chart of accuracy against size, which is drawn by Plotly on the page and as a PNG."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from protoquant.pages.palette import SCALE


@dataclass(frozen=True)
class SizePath:
    """Heads of one codebook at one temperature, from few prototypes to many, before joint training."""

    colour: str
    heads: pd.DataFrame


@dataclass(frozen=True)
class SizeChart:
    """The data of a chart of accuracy against size.

    Attributes:
        done: Rows of the trials that are done, at least one.
        colours: Colour of each trial, by the logarithm of its number of codes.
        paths: Curves behind the trials.
        front: Rows of the trials that no other beats, from few prototypes to many.
    """

    done: pd.DataFrame
    colours: Mapping[str, str]
    paths: tuple[SizePath, ...]
    front: pd.DataFrame


def size_chart(trials: pd.DataFrame, surface: pd.DataFrame, on_front: set[str]) -> SizeChart:
    """Collect the data of the chart.

    Args:
        trials: The table of trials, at least one of them done.
        surface: The table of heads; those after joint training and those without a prototype are not drawn.
        on_front: Trials that no other beats.
    """
    done = trials[trials["state"] == "done"]
    colours = _colours(done)
    heads = surface[surface["trial"].isin(done["trial"]) & ~surface["final"].astype(bool) & (surface["class_size"] > 0)]
    paths = tuple(
        SizePath(colours[str(trial)], rows.sort_values("class_size"))
        for (trial, _), rows in heads.groupby(["trial", "temperature"], sort=False)
    )
    return SizeChart(done, colours, paths, done[done["trial"].isin(on_front)].sort_values("class_size"))


def _colours(done: pd.DataFrame) -> dict[str, str]:
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    scale = LinearSegmentedColormap.from_list("codes", SCALE)
    sizes = {str(row["trial"]): math.log10(float(row["k"])) for row in done.to_dict("records")}
    low, high = min(sizes.values()), max(sizes.values())
    return {trial: str(to_hex(scale((size - low) / ((high - low) or 1.0)))) for trial, size in sizes.items()}
