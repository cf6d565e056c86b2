"""A person at the page: a real Chromium fills in the form, presses run, and follows the link to MLflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import chromium
from tests.faults.conftest import Platform

pytestmark = pytest.mark.server

_PATIENCE = 600_000  # milliseconds; a run of the small data set needs about a minute on a quiet machine


@pytest.fixture
def page(platform: Platform) -> Iterator[Page]:
    """A tab of the machine's Chromium, which knows MLflow's password as from an earlier visit."""
    known = platform.stack.env()
    login = {"username": known["MLFLOW_TRACKING_USERNAME"], "password": known["MLFLOW_TRACKING_PASSWORD"]}
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1400, "height": 1600}, http_credentials=login)


def test_from_the_form_to_the_registered_version(platform: Platform, page: Page, tmp_path: Path) -> None:
    pages = platform.stack.env()
    page.goto(pages["PREFECT_API_URL"].removesuffix("/api") + "/deployments")
    page.get_by_placeholder("admin:pass").fill(pages["PREFECT_API_AUTH_STRING"])
    page.get_by_role("button", name="Login", exact=True).click()
    page.get_by_role("link", name="experiment", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).first.click()
    if page.get_by_text("Custom run").is_visible():
        page.get_by_text("Custom run").click()
    for key, value in (("quantize.size", "6"), ("seed", "2"), ("register.name", "from-the-page")):
        field = page.locator("div.schema-form-property").filter(has=page.get_by_text(f"{key} (Optional)", exact=True))
        field.last.locator("input, textarea").first.fill(value)
    run_name = page.locator("input").first.input_value()
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("link", name=run_name).first.click(timeout=_PATIENCE)  # listed when it has started
    state = page.get_by_role("banner").get_by_text("Completed", exact=True)  # the run's own, not a task's
    expect(state).to_be_visible(timeout=_PATIENCE)
    page.screenshot(path=tmp_path / "run.png")
    page.get_by_text("Artifacts", exact=True).first.click()
    expect(page.get_by_text("accuracy-against-sparsity")).to_be_visible()
    page.get_by_text("links", exact=True).first.click()
    with page.expect_popup() as tab:
        page.get_by_role("link", name="MLflow run").click()
    mlflow = tab.value
    expect(mlflow.get_by_text("Finished").first).to_be_visible(timeout=30_000)
    expect(mlflow.get_by_text("from-the-page").nth(1)).to_be_visible()
    expect(mlflow.get_by_text("v1", exact=True).first).to_be_visible()
    mlflow.screenshot(path=tmp_path / "mlflow.png")
    assert mlflow.url.startswith(pages["MLFLOW_TRACKING_URI"])
