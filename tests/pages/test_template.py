"""Templates of a package that is made for the test, beside ours."""

import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from protoquant.pages.template import render_template

PAGE = """{% extends "base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block style %}{{ source("own.css") }}{% endblock %}
{% block body %}<p>{{ name }}: {{ share|percent }}</p>{% endblock %}
"""


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a template and a style sheet beside it."""
    folder = tmp_path / "page_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "render.py").touch()
    (folder / "page.html").write_text(PAGE)
    (folder / "own.css").write_text("b > i::after { content: '\N{EN DASH}'; }\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "page_of_a_test.render"
    for name in ("page_of_a_test", "page_of_a_test.render"):
        sys.modules.pop(name, None)


def test_values_are_escaped_and_files_stand_as_they_are(caller: str) -> None:
    page = render_template(caller, "page.html", name="<b>'&", share=0.5)
    assert "<title>&lt;b&gt;&#39;&amp;</title>" in page
    assert "<p>&lt;b&gt;&#39;&amp;: 50.0 %</p>" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert style.startswith("<style>:root {")
    assert style.endswith("b > i::after { content: '\N{EN DASH}'; }\n")
    assert page == render_template(caller, "page.html", name="<b>'&", share=0.5)


def test_a_page_may_load_nothing_unless_it_says_so(caller: str) -> None:
    page = render_template(caller, "page.html", name="a", share=None)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\">" in page
    assert "url(" not in page
    assert "@import" not in page


def test_a_value_that_is_missing_is_an_error(caller: str) -> None:
    with pytest.raises(UndefinedError, match="'share' is undefined"):
        render_template(caller, "page.html", name="a")
