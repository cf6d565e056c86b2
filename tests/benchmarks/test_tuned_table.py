import math

import pytest

from benchmarks.recipes import Measured
from benchmarks.search_spaces import SEARCHES
from benchmarks.tuned_table import METHODS, STEPS, TITLES, Found, gains, summarise, text


def found(name, right, *, seed=0, images="a", cpu=10.0, budget=5):
    top1 = right.count("1") / len(right)
    model = Measured("photos", seed, name, budget, float(budget), top1, top1, 2.0, right, 1.0, images)
    return Found(name, model, cpu, 24, 0, {"ridge": 0.1})


def test_every_method_and_step_has_a_title_and_every_search_a_row() -> None:
    assert set(METHODS) | set(STEPS) == set(TITLES)
    assert set(SEARCHES) < set(TITLES)


def test_methods_are_paired_with_the_papers_values_and_steps_with_the_line_before() -> None:
    rows = [found("paper", "1000"), found("paper-frozen", "1100"), found("convex", "1110"), found("joint", "1111")]
    assert [row.gain for row in summarise(rows)][1:] == [0.25, 0.75]
    assert [(row.method, row.gain) for row in gains(rows)[1:]] == [
        ("paper, tuned, codes frozen", 0.25),
        ("+ convex head", 0.25),
        ("+ joint training", 0.25),
    ]
    assert math.isnan(gains(rows)[0].gain)


def test_seeds_on_the_same_images_count_them_once() -> None:
    rows = [found(name, right, seed=seed) for seed in (0, 1) for name, right in (("paper", "10"), ("ours", "11"))]
    _, ours = summarise(rows)
    assert (ours.seeds, ours.n, ours.gain, ours.search_cpu, ours.model_cpu) == (2, 2, 0.5, 10.0, 2.0)


def test_budgets_and_data_are_apart() -> None:
    rows = [found("paper", "10", budget=budget) for budget in (5, 10)]
    assert [(row.budget, row.n) for row in summarise(rows)] == [(5, 2), (10, 2)]


def test_other_seeds_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="ours, tuned was measured on other seeds or test images"):
        summarise([found("paper", "10"), found("ours", "11", seed=1)])


def test_the_text_has_both_costs_and_no_gain_for_the_first_line() -> None:
    rows = [found("paper", "1000", cpu=200.0), found("ours", "1111", cpu=960.0)]
    lines = text(summarise(rows), gains(rows)).splitlines()
    assert lines[1].split()[-2:] == ["200", "2"]
    assert lines[2].split()[-2:] == ["960", "2"]
    assert "+75.00" in lines[2]
    assert "+" not in lines[1]


def test_a_picked_setting_is_a_row() -> None:
    values = found("ours", "1110").values()
    assert (values["method"], values["test_top1"], values["ridge"]) == ("ours, tuned", 0.75, 0.1)
