"""The table and the figure of the benchmark, from numbers by hand."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from benchmarks.believable import COLUMNS, RULE, VARIANTS, VIEWED, summary, table
from benchmarks.believable_chart import STYLES, draw
from protoquant.settings.settings import Settings

ROOT = Path(__file__).parents[2]


def row(seed: int, right: str, *, images: str, variant: str = "default", asked: int = 5) -> dict:
    numbers = {**dict.fromkeys(COLUMNS, 0.5), "off": None, "evidence_off": None}
    names = {"data": "birds", "seed": seed, "variant": variant, "asked": asked, "right": right, "images": images}
    return {**numbers, **names, "purity": 0.4 + 0.2 * seed}


def test_a_line_pools_images_and_averages_properties_over_seeds() -> None:
    line = summary(pd.DataFrame([row(0, "1100", images="a"), row(1, "1000", images="b")])).iloc[0]
    assert (line["n"], line["seeds"], line["test"]) == (8, 2, pytest.approx(0.375))
    assert (line["purity"], line["purity_least"], line["purity_most"]) == pytest.approx((0.5, 0.4, 0.6))


def test_table_and_figure_leave_out_what_was_not_measured(tmp_path) -> None:
    lines = summary(pd.DataFrame([row(0, "11", images="a", asked=RULE), row(0, "10", images="a", variant="before")]))
    text = table(lines)
    assert "### birds, 1 seeds, 2 test images" in text
    assert "| rule | default | 100.0 (100.0 to 100.0) | 50.0 | 50.0 | 0 | 0.40 | 0.50 | 0.50 |  |  |" in text
    draw(lines, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.width > 1500


def test_the_default_is_that_of_params_and_every_variant_has_a_style() -> None:
    params = Settings.load(ROOT / "params.yaml")
    coding, training = VARIANTS["default"].sections(RULE)
    assert (coding, training) == (params.quantize, params.train)
    assert {name: getattr(params.extract, name) for name in VIEWED} == VIEWED
    assert VARIANTS["default"].features() == params.extract
    assert set(STYLES) == set(VARIANTS)


def test_the_default_of_before_is_frozen() -> None:
    coding, training = VARIANTS["before"].sections(5)
    assert (coding.size, coding.keep, training.codes, training.budget.sizes) == (10, None, "free", (5,))
    assert (training.joint.epochs, training.joint.prototype_dropout, training.joint.steadiness) == (40, 0.5, 0.0)
