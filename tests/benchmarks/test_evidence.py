"""The tables of the benchmark, from numbers by hand."""

from pathlib import Path

import pandas as pd

from benchmarks.datasets import DataSet
from benchmarks.evidence import SHOWN, rows_of, table
from benchmarks.evidence_chart import draw
from protoquant.core.workspace import Workspace


def rows(seed: int, mean: float) -> list[dict]:
    data = DataSet("birds", f"birds-{seed}", seed, Workspace(Path()), Path())
    fixed = {"mean": {"value": mean, "low": 0.1, "high": 0.9, "n": 7}, "random_cells": {"value": 0.25, "n": 7}}
    return list(rows_of(data, "fast", {"purity": {"fixed": fixed}, "test": {"ties": {"value": 3}}}))


def test_rows_hold_value_interval_and_chance() -> None:
    ties, purity = rows(0, 0.5)
    assert (ties["metric"], ties["value"], ties["chance"]) == ("test.ties", 3, None)
    assert (purity["metric"], purity["value"], purity["n"], purity["chance"]) == ("purity.fixed.mean", 0.5, 7, 0.25)


def test_the_table_shows_means_over_seeds_their_spread_and_chance(tmp_path: Path) -> None:
    frame = pd.DataFrame([*rows(0, 0.5), *rows(1, 0.7)])
    text = table(frame)
    assert "### birds, 2 seeds" in text
    assert "| `purity.fixed.mean` ↑ | 0.60 ± 0.10 (0.25) |" in text
    draw(frame, SHOWN, tmp_path / "evidence.png")
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
