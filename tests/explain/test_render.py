"""The template at its edges: hundreds of classes, nothing to explain, undefined numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from protoquant.core.events import ignore
from protoquant.explain.config import VisualizeConfig
from protoquant.explain.figures import Square
from protoquant.explain.report.compose import compose
from protoquant.explain.report.page import Confusion, Page
from protoquant.explain.report.render import render
from protoquant.explain.sources import read_sources


@pytest.fixture(scope="module")
def page(made: dict[str, Path]) -> Page:
    """The values of a small report."""
    return compose(VisualizeConfig(image_size=64, right=1, wrong=1), read_sources(**made), 1e-3, ignore)


def test_many_classes_are_drawn_without_names_or_counts(page: Page) -> None:
    names = tuple(f"class number {label}" for label in range(200))
    squares = tuple(Square(label, label, 5, 1.0) for label in range(200))
    few = render(replace(page, confusion=Confusion(names[:60], squares[:60], ())))
    many = render(replace(page, confusion=Confusion(names, squares, ())))
    assert few.count('<text class="name"') == 120
    assert 'class="name"' not in many
    assert many.count('class="hit"') == 200
    assert "class number 199 → class number 199: 5" in many
    assert "<p>None.</p>" in many


def test_undefined_numbers_are_dashes(page: Page) -> None:
    html = render(replace(page, classes=(replace(page.classes[0], recall=None, precision=None),)))
    assert html.count("\N{EN DASH}") >= 2


def test_a_model_without_prototypes_still_has_a_report(page: Page) -> None:
    empty = replace(page, groups=(), right=(), wrong=(), path=replace(page.path, points=(), lines=()), pictures=())
    html = render(empty)
    assert '<article class="card"' not in html
    assert html.endswith("</html>")
