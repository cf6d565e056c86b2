"""The page of a sweep in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from protoquant.sweep.choice import choose, front
from protoquant.sweep.importance import importance
from protoquant.sweep.page.charts import front_chart, parallel_chart
from protoquant.sweep.page.page import render
from protoquant.sweep.page.picture import draw
from tests.builders.sweeps import KEYS, tables


def page_of(trials: pd.DataFrame, surface: pd.DataFrame) -> str:
    choice = choose(trials, 0.01)
    shares = importance(trials, KEYS)
    return render(trials, surface, choice, shares, name="a <b>", keys=KEYS, facts={"search": "grid"})


@pytest.fixture
def tab() -> Iterator[Page]:
    """A tab of the machine's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: apt-get install chromium")
        pytest.skip("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


@pytest.mark.browser
def test_charts_are_drawn_and_the_table_sorts(tab: Page, tmp_path: Path) -> None:
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    (tmp_path / "index.html").write_text(page_of(*tables()), encoding="utf-8")
    tab.goto((tmp_path / "index.html").as_uri())
    expect(tab).to_have_title("Sweep a <b>")
    assert tab.locator(".scatterlayer .trace").count() >= 13
    expect(tab.locator(".parcoords .axis-title").first).to_have_text("quantize.size")
    first = tab.locator("tbody tr").first.locator("td").first
    expect(first).to_have_text("1")
    tab.get_by_role("button", name="accuracy, %").click()
    expect(first).to_have_text("13")
    tab.get_by_role("button", name="accuracy, %").click()
    expect(tab.locator("tbody tr").first.locator("td").nth(5)).to_have_text("95.14")
    expect(tab.locator("tr.chosen")).to_have_count(1)
    expect(tab.get_by_text("ended early")).to_be_visible()
    assert said == []


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    trials, surface = tables()
    assert page_of(trials, surface) == page_of(trials, surface)
    choice = choose(trials, 0.01)
    assert choice is not None
    for name in ("a.png", "b.png"):
        draw(trials, surface, choice, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_plotly_knows_every_property_of_the_charts() -> None:
    trials, surface = tables()
    choice = choose(trials, 0.01)
    assert choice is not None
    for chart in (front_chart(trials, surface, choice, front(trials)), parallel_chart(trials, KEYS)):
        go.Figure(chart)


def test_without_a_done_trial_the_page_says_so() -> None:
    trials, surface = tables()
    page = page_of(trials[trials["state"] != "done"], surface.head(0))
    assert "No trial is done, so nothing is chosen" in page
    assert "no space &lt;/script&gt;" in page
    assert len(page) < 50_000  # no chart, no library
    assert "default-src 'none'" in page


def test_one_trial_is_a_page_too() -> None:
    trials, surface = tables()
    assert "is the best itself" in page_of(trials.head(1), surface[surface["trial"] == "t1"])
