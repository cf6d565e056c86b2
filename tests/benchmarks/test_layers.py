"""The table of the benchmark, from numbers by hand."""

import pandas as pd
import pytest

from benchmarks.layers import COLUMNS, RULE, VARIANTS, summary, table
from protoquant.features.config import LAST


def row(seed: int, right: str, *, images: str, variant: str = "w 2", asked: int = 5) -> dict:
    numbers = dict.fromkeys((*COLUMNS, "quantize_cpu", "train_cpu", "mib"), 0.5)
    names = {"data": "birds", "seed": seed, "variant": variant, "asked": asked, "right": right, "images": images}
    return {**numbers, **names, "purity": None if seed else 0.75}


def test_seeds_of_the_same_images_count_each_image_once() -> None:
    shared = summary(pd.DataFrame([row(0, "1100", images="a"), row(1, "1000", images="a")])).iloc[0]
    own = summary(pd.DataFrame([row(0, "1100", images="a"), row(1, "1000", images="b")])).iloc[0]
    assert (shared["n"], own["n"], shared["seeds"]) == (4, 8, 2)
    assert shared["test"] == pytest.approx(0.375) == own["test"]
    assert shared["purity"] == 0.75  # where one seed has no parts, the mean is of the others


def test_the_table_has_a_line_for_each_variant_and_number() -> None:
    rows = [row(0, "11", images="a", asked=RULE), row(0, "10", images="a", variant="before")]
    text = table(summary(pd.DataFrame(rows)))
    assert "### birds, 1 seeds, 2 test images" in text
    assert "| rule | w 2 | 100.0 (100.0 to 100.0) |" in text
    assert "| 5 | before | 50.0 (" in text


def test_the_default_of_before_is_frozen() -> None:
    coding, training = VARIANTS["before"].sections(5)
    assert (coding.layers, training.choice, training.budget.sizes) == ((LAST,), None, (5,))
    assert VARIANTS["w 2"].sections(RULE)[1].choice is not None
