"""From the page's values to HTML: escaped everywhere, complete in one file."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from protoquant.explain.report.page import Page

_UNDEFINED = "\N{EN DASH}"


def render(page: Page) -> str:
    """Write the report as one HTML document that needs no network and no script.

    Args:
        page: What it says.

    Returns:
        The document; the same page gives the same text. Every value is escaped; style and script are the package's
        own files.
    """
    environment = Environment(
        loader=FunctionLoader(_own), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = number
    template = environment.get_template("report.html")
    return template.render(page=page, style=Markup(_own("report.css")), script=Markup(_own("report.js")))  # noqa: S704


def percent(value: float | None, decimals: int = 1) -> str:
    """Write a share as a percentage; an undefined one as a dash."""
    return _UNDEFINED if value is None else f"{100 * value:.{decimals}f} %"


def number(value: float | None, decimals: int = 2) -> str:
    """Write a number with grouped thousands; an undefined one as a dash."""
    return _UNDEFINED if value is None else f"{value:,.{decimals}f}"


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
