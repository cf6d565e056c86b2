"""Rendering the page's values as one self-contained HTML file, with every value escaped."""

from protoquant.explain.report.page import Page
from protoquant.pages.template import render_template


def render(page: Page) -> str:
    """Write the report as one HTML document that needs no network and no script.

    Args:
        page: Values of the page.

    Returns:
        The document; the same page gives the same text.
    """
    return render_template(__name__, "report.html", page=page)
