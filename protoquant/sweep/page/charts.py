"""Builds the charts of a sweep's page for Plotly: data and layout in plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from protoquant.pages.axes import ACCURACY, SIZE
from protoquant.pages.palette import CHOSEN, SCALE
from protoquant.sweep.choice import Choice
from protoquant.sweep.page.size_chart import SizePath, size_chart

Chart = dict[str, Any]
_SCALE = [[place / (len(SCALE) - 1), colour] for place, colour in enumerate(SCALE)]


def front_chart(trials: pd.DataFrame, surface: pd.DataFrame, choice: Choice, on_front: set[str]) -> Chart:
    """Plot accuracy on held-out images against prototypes per class, with a curve for each codebook.

    Args:
        trials: The table of trials.
        surface: The table of heads.
        choice: The winner, which is marked with a ring.
        on_front: Trials that no other beats; they are joined by a line.
    """
    shown = size_chart(trials, surface, on_front)
    done, best = shown.done, shown.front
    sizes = [math.log10(size) for size in done["k"].astype(float)]
    low, high = min(sizes), max(sizes)
    data: list[Chart] = [_path(path) for path in shown.paths]
    data.append(
        {
            "type": "scatter",
            "name": "front",
            "mode": "lines",
            "x": _numbers(best["class_size"]),
            "y": _percents(best["accuracy"]),
            "line": {"color": CHOSEN, "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
        }
    )
    chosen = list(done["trial"] == choice.trial)
    data.append(
        {
            "type": "scatter",
            "name": "trials",
            "mode": "markers",
            "x": _numbers(done["class_size"]),
            "y": _percents(done["accuracy"]),
            "text": [_hover(row) for row in done.to_dict("records")],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "size": [17 if one else 11 for one in chosen],
                "color": sizes,
                "colorscale": _SCALE,
                "cmin": low,
                "cmax": high if high > low else low + 1,
                "line": {
                    "width": [4 if one else 1 for one in chosen],
                    "color": [CHOSEN if one else "#fff" for one in chosen],
                },
                "colorbar": {"title": {"text": "codes", "side": "right"}, **_size_ticks(done["k"]), "thickness": 12},
                "showscale": high > low,
            },
        }
    )
    every = [float(size) for rows in (done, *(path.heads for path in shown.paths)) for size in rows["class_size"]]
    layout = {
        "xaxis": {
            "title": {"text": SIZE},
            "type": "log",
            **_plain_ticks(min(every), max(every)),
        },
        "yaxis": {"title": {"text": ACCURACY}},
        "showlegend": False,
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def parallel_chart(trials: pd.DataFrame, keys: Sequence[str]) -> Chart:
    """Draw a line for each done trial across the searched keys, its size and its accuracy.

    Args:
        trials: The table of trials.
        keys: The searched keys.
    """
    done = trials[trials["state"] == "done"]
    accuracy = _percents(done["accuracy"])
    dimensions = [_dimension(key, done[key]) for key in keys]
    dimensions.append(_dimension("prototypes per class", done["class_size"]))
    dimensions.append({"label": ACCURACY, "values": accuracy})
    line = {"color": accuracy, "colorscale": _SCALE, "cmin": min(accuracy), "cmax": max(accuracy) + 1e-9}
    return {"data": [{"type": "parcoords", "line": line, "dimensions": dimensions}], "layout": {}}


def _path(path: SizePath) -> Chart:
    colour, ordered = path.colour, path.heads
    return {
        "type": "scatter",
        "name": "path",
        "mode": "lines+markers",
        "x": _numbers(ordered["class_size"]),
        "y": _percents(ordered["accuracy"]),
        "line": {"color": colour, "width": 1},
        "marker": {"size": 3, "color": colour},
        "opacity": 0.7,
        "text": [
            f"{int(row['k'])} codes, temperature {row['temperature']:g}<br>before joint training"
            for row in ordered.to_dict("records")
        ],
        "hovertemplate": "%{y:.1f} %, %{x:.2f} per class<br>%{text}<extra></extra>",
    }


def _dimension(name: str, column: pd.Series) -> Chart:
    """Build an axis: numbers as they are, or by logarithm if they span decades; anything else in sorted order."""
    numbers = pd.to_numeric(column, errors="coerce")
    boolean = column.map(lambda value: isinstance(value, bool)).any()
    if boolean or numbers.isna().any():
        texts = ["null" if value is None else str(value) for value in column]
        kinds = sorted(set(texts))
        places = [kinds.index(text) for text in texts]
        return {
            "label": name,
            "values": places,
            "tickvals": list(range(len(kinds))),
            "ticktext": [_short(k) for k in kinds],
        }
    values = [float(number) for number in numbers]
    shown = _few(sorted(set(values)), 8)
    if min(values) > 0 and max(values) >= 30 * min(values):
        return {
            "label": name,
            "values": [math.log10(value) for value in values],
            "tickvals": [math.log10(value) for value in shown],
            "ticktext": [f"{value:.4g}" for value in shown],
        }
    if len(set(values)) == len(shown):
        return {"label": name, "values": values, "tickvals": shown, "ticktext": [f"{value:.4g}" for value in shown]}
    return {"label": name, "values": values}


def _few(values: list[Any], most: int) -> list[Any]:
    """Return all values, or an even selection from the first to the last."""
    if len(values) <= most:
        return values
    return [values[round(step * (len(values) - 1) / (most - 1))] for step in range(most)]


def _hover(row: Mapping[Any, Any]) -> str:
    return (
        f"<b>trial {int(row['number'])}</b>: {100 * row['accuracy']:.2f} %<br>"
        f"{row['class_size']:.2f} prototypes per class, {int(row['prototypes'])} in all<br>"
        f"{int(row['k'])} codes, temperature {row['temperature']:g}"
    )


def _size_ticks(sizes: pd.Series) -> Chart:
    """Return ticks for the sizes that occur, at most eight, on a logarithmic scale."""
    shown = _few(sorted({int(size) for size in sizes}), 8)
    return {"tickvals": [math.log10(size) for size in shown], "ticktext": [f"{size:,}" for size in shown]}


def _plain_ticks(low: float, high: float) -> Chart:
    """Return ticks at round values of a logarithmic axis."""
    steps = [base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5)]
    shown = [step for step in steps if low / 1.5 <= step <= high * 1.5]
    return {"tickvals": shown, "ticktext": [f"{step:g}" for step in shown]}


def _short(text: str, most: int = 28) -> str:
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    # Plotly interprets a few HTML tags in its texts.
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _numbers(column: pd.Series) -> list[float]:
    return [round(float(value), 6) for value in column]


def _percents(column: pd.Series) -> list[float]:
    return [round(100 * float(value), 4) for value in column]
