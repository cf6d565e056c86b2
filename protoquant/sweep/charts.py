"""The charts of a sweep's page, as Plotly describes them: data and layout in plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from protoquant.sweep.choice import Choice

Chart = dict[str, Any]
_SCALE = "Viridis"
_RING = "#d1495b"


def front_chart(trials: pd.DataFrame, surface: pd.DataFrame, choice: Choice, on_front: set[str]) -> Chart:
    """Validation accuracy against prototypes per class, a curve for each codebook.

    Args:
        trials: The table of trials.
        surface: The table of heads.
        choice: The winner; it gets a ring.
        on_front: Trials that no other beats; they are joined by a line.
    """
    done = trials[trials["state"] == "done"]
    sizes = [math.log10(size) for size in done["k"].astype(float)]
    low, high = min(sizes), max(sizes)
    heads = surface[(surface["trial"].isin(done["trial"])) & ~surface["final"].astype(bool) & (surface["class_size"] > 0)]
    data: list[Chart] = [_path(rows, low, high) for _, rows in heads.groupby(["trial", "temperature"], sort=False)]
    best = done[done["trial"].isin(on_front)].sort_values("class_size")
    data.append(
        {
            "type": "scatter",
            "name": "front",
            "mode": "lines",
            "x": _numbers(best["class_size"]),
            "y": _percents(best["validation_top1"]),
            "line": {"color": _RING, "width": 1.5, "dash": "dot"},
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
            "y": _percents(done["validation_top1"]),
            "text": [_hover(row) for row in done.to_dict("records")],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "size": [17 if one else 11 for one in chosen],
                "color": sizes,
                "colorscale": _SCALE,
                "cmin": low,
                "cmax": high if high > low else low + 1,
                "line": {"width": [4 if one else 1 for one in chosen], "color": [_RING if one else "#fff" for one in chosen]},
                "colorbar": {"title": {"text": "codes", "side": "right"}, **_size_ticks(done["k"]), "thickness": 12},
                "showscale": high > low,
            },
        }
    )
    every = [float(size) for size in (*done["class_size"], *heads["class_size"])]
    layout = {
        "xaxis": {"title": {"text": "prototypes per class (mean)"}, "type": "log", **_plain_ticks(min(every), max(every))},
        "yaxis": {"title": {"text": "validation accuracy, %"}},
        "showlegend": False,
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def parallel_chart(trials: pd.DataFrame, keys: Sequence[str]) -> Chart:
    """A line for each done trial across the searched keys, its size and its accuracy.

    Args:
        trials: The table of trials.
        keys: The searched keys.
    """
    done = trials[trials["state"] == "done"]
    accuracy = _percents(done["validation_top1"])
    dimensions = [_dimension(key, done[key]) for key in keys]
    dimensions.append(_dimension("prototypes per class", done["class_size"]))
    dimensions.append({"label": "validation accuracy, %", "values": accuracy})
    line = {"color": accuracy, "colorscale": _SCALE, "cmin": min(accuracy), "cmax": max(accuracy) + 1e-9}
    return {"data": [{"type": "parcoords", "line": line, "dimensions": dimensions}], "layout": {}}


def _path(rows: pd.DataFrame, low: float, high: float) -> Chart:
    """The heads of one codebook at one temperature."""
    ordered = rows.sort_values("class_size")
    size = math.log10(float(ordered["k"].iloc[0]))
    return {
        "type": "scatter",
        "name": "path",
        "mode": "lines+markers",
        "x": _numbers(ordered["class_size"]),
        "y": _percents(ordered["validation_top1"]),
        "line": {"color": _colour(size, low, high), "width": 1},
        "marker": {"size": 3, "color": _colour(size, low, high)},
        "opacity": 0.45,
        "text": [
            f"{int(row['k'])} codes, temperature {row['temperature']:g}<br>before joint training"
            for row in ordered.to_dict("records")
        ],
        "hovertemplate": "%{y:.1f} %, %{x:.2f} per class<br>%{text}<extra></extra>",
    }


def _colour(value: float, low: float, high: float) -> str:
    """The colour of Plotly's Viridis at a value, by matplotlib's table of the same name."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    share = 0.0 if high == low else (value - low) / (high - low)
    return str(to_hex(colormaps["viridis"](share)))


def _dimension(name: str, column: pd.Series) -> Chart:
    """An axis: numbers as they are, by their logarithm where they span decades, anything else by its place."""
    numbers = pd.to_numeric(column, errors="coerce")
    boolean = column.map(lambda value: isinstance(value, bool)).any()
    if boolean or numbers.isna().any():
        texts = ["null" if value is None else str(value) for value in column]
        kinds = sorted(set(texts))
        places = [kinds.index(text) for text in texts]
        return {"label": name, "values": places, "tickvals": list(range(len(kinds))), "ticktext": [_short(k) for k in kinds]}
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
    """All values, or some of them from the first to the last."""
    if len(values) <= most:
        return values
    return [values[round(step * (len(values) - 1) / (most - 1))] for step in range(most)]


def _hover(row: dict[str, Any]) -> str:
    return (
        f"<b>trial {int(row['number'])}</b>: {100 * row['validation_top1']:.2f} %<br>"
        f"{row['class_size']:.2f} prototypes per class, {int(row['prototypes'])} in all<br>"
        f"{int(row['k'])} codes, temperature {row['temperature']:g}"
    )


def _size_ticks(sizes: pd.Series) -> Chart:
    """The sizes that there are, at most eight of them, on a logarithmic scale."""
    shown = _few(sorted({int(size) for size in sizes}), 8)
    return {"tickvals": [math.log10(size) for size in shown], "ticktext": [f"{size:,}" for size in shown]}


def _plain_ticks(low: float, high: float) -> Chart:
    """Round values on a logarithmic axis."""
    steps = [base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5)]
    shown = [step for step in steps if low / 1.5 <= step <= high * 1.5]
    return {"tickvals": shown, "ticktext": [f"{step:g}" for step in shown]}


def _short(text: str, most: int = 28) -> str:
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    # Plotly reads a few tags in its texts.
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _numbers(column: pd.Series) -> list[float]:
    return [round(float(value), 6) for value in column]


def _percents(column: pd.Series) -> list[float]:
    return [round(100 * float(value), 4) for value in column]
