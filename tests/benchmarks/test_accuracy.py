import numpy as np
import pandas as pd
import pytest

from benchmarks.accuracy import TABLE, minutes_left, summarise, table, together
from benchmarks.accuracy_chart import STYLES, draw
from benchmarks.recipes import RECIPES, Measured


def measured(recipe, budget, right, *, seed=0, images="a", cpu=10.0):
    top1 = right.count("1") / len(right)
    return Measured("photos", seed, recipe, budget, float(budget), top1, top1, cpu, right, 4.0, images)


def test_two_seeds_on_the_same_images():
    found = [
        measured("probe", 0, "1110"),
        measured("probe", 0, "1110", seed=1),
        measured("fast", 5, "1100", cpu=10.0),
        measured("fast", 5, "1111", seed=1, cpu=30.0),
    ]
    probe, fast = summarise(found)
    assert (fast.seeds, fast.n) == (2, 4)
    assert (fast.top1, fast.least, fast.most) == (0.75, 0.5, 1.0)
    assert (fast.gap, fast.cpu, fast.codes_cpu) == (0.0, 20.0, 4.0)
    assert fast.gap_low < 0.0 < fast.gap_high
    assert (probe.gap, probe.gap_low, probe.gap_high) == (0.0, 0.0, 0.0)


def test_two_seeds_on_images_of_their_own():
    found = [measured(name, 0, "10", seed=seed, images=str(seed)) for name in ("probe", "fast") for seed in (0, 1)]
    assert [row.n for row in summarise(found)] == [4, 4]


def test_the_gap_is_paired_by_image():
    right = "".join("10"[place % 2] for place in range(100))
    better = "1" + right[1:].replace("0", "1", 1)
    _, fast = summarise([measured("probe", 0, right), measured("fast", 5, better)])
    assert fast.gap == pytest.approx(0.01)
    assert fast.gap_high - fast.gap_low < 0.05
    assert fast.high - fast.low > 0.15


def test_times_are_set_against_fast_at_the_same_budget():
    found = [
        measured("probe", 0, "11"),
        measured("fast", 5, "11", cpu=10.0),
        measured("paper", 5, "10", cpu=73.0),
    ]
    assert table(summarise(found)).splitlines()[-1].split()[-3:] == ["73", "4", "7.3"]


def test_the_estimate_uses_the_time_of_the_same_recipe():
    assert minutes_left([], ["paper"]) == 0.0
    assert minutes_left([("fast", 60.0), ("paper", 600.0)], ["paper", "fast"]) == pytest.approx(11.0)
    assert minutes_left([("fast", 60.0)], ["paper", "paper"]) == pytest.approx(2.0)


def test_the_figure_is_drawn_where_recipes_are_missing(tmp_path):
    rng = np.random.default_rng(0)
    found = [
        measured(name, size, "".join(map(str, rng.integers(0, 2, 30)))) for name, size in (("probe", 0), ("fast", 5))
    ]
    draw(summarise(found), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_rows_that_are_not_measured_again_stay_in_the_table(tmp_path):
    old = summarise([measured("probe", 0, "1110"), measured("fast", 5, "1100"), measured("fast", 10, "1110")])
    pd.DataFrame([vars(row) for row in old]).to_csv(tmp_path / TABLE, index=False)
    new = summarise([measured("probe", 0, "1110"), measured("mean", 0, "1000"), measured("fast", 5, "1111")])
    kept = together(new, tmp_path)
    assert [(row.recipe, row.budget, row.top1) for row in kept] == [
        ("probe", 0, 0.75),
        ("mean", 0, 0.25),
        ("fast", 5, 1.0),
        ("fast", 10, 0.75),
    ]
    assert [row.recipe for row in together(new, tmp_path / "empty")] == ["probe", "mean", "fast"]


def test_every_recipe_has_a_style_of_its_own():
    assert set(STYLES) == set(RECIPES)
    assert len({(style.colour, style.marker, style.line) for style in STYLES.values()}) == len(STYLES)
