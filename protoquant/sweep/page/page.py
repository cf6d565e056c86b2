"""Renders the page of a sweep as one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from protoquant.pages.formatters import MISSING, setting
from protoquant.pages.template import render_template
from protoquant.sweep.choice import Choice, front
from protoquant.sweep.page.charts import Chart, front_chart, parallel_chart

_COLUMNS = {
    "k": ("codes", "{:.0f}"),
    "accuracy": ("accuracy, %", "{:.2f}"),
    "class_size": ("per class", "{:.2f}"),
    "prototypes": ("prototypes", "{:.0f}"),
    "temperature": ("temperature", "{:g}"),
    "seconds": ("seconds", "{:.1f}"),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table: its text, and the key that it is sorted by."""

    text: str
    sort: str


@dataclass(frozen=True)
class TrialRow:
    """A row of the table, for one trial."""

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
    """Render the page.

    Args:
        trials: The table of trials, at least one row.
        surface: The table of heads.
        choice: The winner; None if no trial is done.
        shares: Importance of each key; empty if it cannot be computed.
        name: Name of the sweep.
        keys: The searched keys.
        facts: Further facts for the top of the page, such as the kind of search.

    Returns:
        The document, with every value escaped; the same tables give the same text.
    """
    from plotly.offline import get_plotlyjs

    on_front = front(trials)
    charts: dict[str, Chart] = {}
    if choice is not None:
        charts = {
            "front": front_chart(trials, surface, choice, on_front),
            "parallel": parallel_chart(trials, keys),
        }
    winner = None if choice is None else trials[trials["trial"] == choice.trial].to_dict("records")[0]
    return render_template(
        __name__,
        "page.html",
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
        plotly=Markup(get_plotlyjs()) if charts else "",  # noqa: S704
    )


def _row(row: Mapping[Any, Any], keys: Sequence[str], choice: Choice | None, on_front: set[str]) -> TrialRow:
    cells = [Cell(str(row["number"]), str(row["number"]))]
    cells += [Cell(setting(row[key]), setting(row[key])) for key in keys]
    for column, (_, form) in _COLUMNS.items():
        value = float(str(row[column]))
        if value != value or (row["state"] != "done" and column != "seconds"):  # noqa: PLR0124
            cells.append(Cell(MISSING, "-1"))
            continue
        shown = 100 * value if column == "accuracy" else value
        cells.append(Cell(form.format(shown), repr(shown)))
    trial = str(row["trial"])
    chosen = choice is not None and choice.trial == trial
    return TrialRow(tuple(cells), str(row["state"]), str(row["error"]), chosen, trial in on_front)
