"""The page of a sweep: one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from protoquant.sweep.choice import Choice, front
from protoquant.sweep.page.charts import Chart, front_chart, parallel_chart

_COLUMNS = {
    "k": ("codes", "{:.0f}"),
    "validation_top1": ("validation, %", "{:.2f}"),
    "class_size": ("per class", "{:.2f}"),
    "prototypes": ("prototypes", "{:.0f}"),
    "temperature": ("temperature", "{:g}"),
    "seconds": ("seconds", "{:.1f}"),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table: what it says, and by what it is sorted."""

    text: str
    sort: str


@dataclass(frozen=True)
class TrialRow:
    """A trial in the table."""

    cells: tuple[Cell, ...]
    state: str
    note: str
    chosen: bool
    on_front: bool


def render(
    trials: pd.DataFrame,
    surface: pd.DataFrame,
    choice: Choice | None,
    shares: Mapping[str, float],
    *,
    name: str,
    keys: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    """Write the page.

    Args:
        trials: The table of trials, at least one row.
        surface: The table of heads.
        choice: The winner; None where no trial is done.
        shares: Importance of each key; empty where nothing can be said.
        name: Of the sweep.
        keys: The searched keys.
        facts: What else is said at the top, such as the backbone.

    Returns:
        The document; every value is escaped; the same tables give the same text.
    """
    from plotly.offline import get_plotlyjs

    on_front = front(trials)
    charts: dict[str, Chart] = {}
    if choice is not None:
        charts = {
            "front": front_chart(trials, surface, choice, on_front),
            "parallel": parallel_chart(trials, keys),
        }
    environment = Environment(
        loader=FunctionLoader(_own), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    winner = None if choice is None else trials[trials["trial"] == choice.trial].to_dict("records")[0]
    return environment.get_template("page.html").render(
        name=name,
        keys=keys,
        facts=facts,
        choice=choice,
        winner=winner,
        shares=shares,
        columns=[heading for heading, _ in _COLUMNS.values()],
        rows=[_row(row, keys, choice, on_front) for row in trials.to_dict("records")],
        counts={state: int((trials["state"] == state).sum()) for state in ("done", "stopped", "failed")},
        charts=Markup(json.dumps(charts, sort_keys=True).replace("<", "\\u003c")),  # noqa: S704
        style=Markup(_own("page.css")),  # noqa: S704
        script=Markup(_own("page.js")),  # noqa: S704
        plotly=Markup(get_plotlyjs()) if charts else "",  # noqa: S704
    )


def _row(row: Mapping[Any, Any], keys: Sequence[str], choice: Choice | None, on_front: set[str]) -> TrialRow:
    cells = [Cell(str(row["number"]), str(row["number"]))]
    cells += [Cell(_text(row[key]), _text(row[key])) for key in keys]
    for column, (_, form) in _COLUMNS.items():
        value = float(str(row[column]))
        if value != value or (row["state"] != "done" and column != "seconds"):  # noqa: PLR0124
            cells.append(Cell("\N{EN DASH}", "-1"))
            continue
        shown = 100 * value if column == "validation_top1" else value
        cells.append(Cell(form.format(shown), repr(shown)))
    trial = str(row["trial"])
    chosen = choice is not None and choice.trial == trial
    return TrialRow(tuple(cells), str(row["state"]), str(row["error"]), chosen, trial in on_front)


def _text(value: object) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
