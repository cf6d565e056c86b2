"""Renders a template and its values as one self-contained HTML document, with all values escaped."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from protoquant.pages.formatters import breakable, interval, number, p_value, percent, setting


def render_template(module: str, name: str, /, **values: object) -> str:
    """Write a page as one HTML document that needs no network.

    A template extends ``base.html``, the head of all our pages with their style, or ``article/article.html``, a page
    to be read from top to bottom. In a template, ``source("page.css")`` is the text of a file beside it, unescaped,
    and the functions of ``formatters.py`` are filters.

    Args:
        module: Name of a module; the template and the files that it names lie beside it.
        name: Name of the template's file.
        **values: Values for the page; all but ``Markup`` are escaped.

    Returns:
        The document; the same values give the same text.
    """
    loader = ChoiceLoader([PackageLoader(module, "."), PackageLoader(__name__, ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["source"] = lambda file: Markup(loader.get_source(environment, file)[0])  # noqa: S704
    environment.filters.update(
        breakable=breakable, interval=interval, number=number, p_value=p_value, percent=percent, setting=setting
    )
    return environment.get_template(name).render(values)
