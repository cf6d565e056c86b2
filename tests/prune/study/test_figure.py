import pandas as pd
import pytest
from PIL import Image

from protoquant.prune.study.compare import compare, interval
from protoquant.prune.study.figure import draw_steps, draw_study, plan_steps, study_panels
from tests.prune.study.test_compare import runs


def test_panels_hold_means_and_intervals() -> None:
    table = pd.concat([runs(), runs({0.2: 0.1}, "gradient")])
    comparison = compare(table, "top1", 0.9)
    refit, gradient = study_panels(table, comparison, "top1", 0.9)
    assert (refit.tuner, gradient.tuner) == ("refit", "gradient")
    assert refit.start == 0.9
    one_shot, iterative = refit.accuracies
    assert (one_shot.strategy, iterative.strategy) == ("one_shot", "iterative")
    assert iterative.ratios == (0.2, 0.6, 0.9)
    assert one_shot.values == pytest.approx((0.6, 0.6, 0.6))
    assert (one_shot.values[0], one_shot.low[0], one_shot.high[0]) == pytest.approx(interval([0.3, 0.5, 0.7, 0.9], 0.9))
    (apart,) = refit.differences
    assert apart.values == pytest.approx((-0.05, 0.0, 0.04))
    assert all(low <= value <= high for low, value, high in zip(apart.low, apart.values, apart.high, strict=True))


def test_figures_are_pictures_that_repeat_to_the_byte(tmp_path) -> None:
    table = runs()
    panels = study_panels(table, compare(table, "top1", 0.9), "top1", 0.9)
    for name in ("a.png", "b.png"):
        draw_study(panels, "caption", "top1", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (900, 1110)


def test_steps_of_a_plan(tmp_path) -> None:
    table = pd.DataFrame(
        {
            "ratio": [0.0, 0.5],
            "prototypes": [8, 4],
            "top1_before": [0.9, 0.7],
            "validation_top1": [0.9, 0.8],
            "selected": [0, 1],
        }
    )
    steps = plan_steps(table)
    assert (steps.ratios, steps.prototypes, steps.before, steps.after, steps.chosen) == (
        (0.0, 0.5),
        (8, 4),
        (0.9, 0.7),
        (0.9, 0.8),
        1,
    )
    draw_steps(steps, 12, tmp_path / "steps.png")
    assert Image.open(tmp_path / "steps.png").size == (1050, 660)
