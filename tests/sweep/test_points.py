"""A search space is checked as params.yaml is, and gives each point once."""

from pathlib import Path
from typing import Any

import pytest

from protoquant.core.errors import ConfigError
from protoquant.settings.settings import read_params
from protoquant.settings.sweep_section import SweepConfig
from protoquant.sweep.points import check_space, drawn_points, grid_points

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")


def config(space: dict[str, Any], **values: Any) -> SweepConfig:
    return SweepConfig.parse({"space": space, **values}, "sweep")


def test_a_grid_is_all_combinations_once_the_last_key_fastest() -> None:
    points = grid_points(config({"quantize.size": [2, 5, 2], "train.joint": [None, {"epochs": 3}]}))
    assert [point.changes for point in points] == [
        {"quantize.size": 2, "train.joint": None},
        {"quantize.size": 2, "train.joint": {"epochs": 3}},
        {"quantize.size": 5, "train.joint": None},
        {"quantize.size": 5, "train.joint": {"epochs": 3}},
    ]
    assert len({point.trial for point in points}) == 4
    assert points[1].settings(PARAMS).train.joint is not None


def test_draws_are_all_different_within_the_ranges_and_follow_the_seed() -> None:
    space = {
        "train.joint.lr_codes": {"low": 1e-4, "high": 1e-1, "log": True},
        "quantize.size": {"low": 2, "high": 9},
        "train.grounding": ["centroid", "medoid"],
    }
    points = drawn_points(config(space, search="random", trials=40), PARAMS, 0)
    assert len({point.trial for point in points}) == 40
    rates = [point.changes["train.joint.lr_codes"] for point in points]
    assert 1e-4 <= min(rates) < 1e-3
    assert 1e-2 < max(rates) <= 1e-1
    assert {type(point.changes["quantize.size"]) for point in points} == {int}
    assert points == drawn_points(config(space, search="random", trials=40), PARAMS, 0)
    assert points != drawn_points(config(space, search="random", trials=40), PARAMS, 1)


def test_more_draws_than_the_space_holds_are_refused() -> None:
    few = config({"quantize.size": [1, 2, 3]}, search="random", trials=4)
    with pytest.raises(ConfigError, match=r"sweep.trials must be at most 3, what sweep.space holds, got 4"):
        drawn_points(few, PARAMS, 0)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"quantize.sise": [1]}, r"unknown key 'quantize.sise'; did you mean 'size'\? \(sweep.space\)"),
        ({"train.tolerance": [0.1, 7]}, r"train.tolerance must be a number >= 0.0 and <= 1.0, got 7 \(sweep.space\)"),
        ({"quantize.learner": ["ema"]}, r"quantize: ema must be a section"),
        (
            {"train.codes": ["free"], "train.mixture": [None], "train.grounding": ["centroid", "medoid"]},
            r"joint must be null with grounding medoid.*\(sweep.space\)",
        ),
        ({"train.joint.epochs.more": [1]}, r"train.joint.epochs is a value and has no key below it"),
    ],
)
def test_an_impossible_grid_is_one_line(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_space(config(space), PARAMS)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"space": {"extract.dtype": ["float32"]}},
            "space must name keys of quantize and train, .* got 'extract.dtype'",
        ),
        (
            {"space": {"train.refit": {"low": 0.1, "high": 0.5}}},
            "train.refit must be a list of values with search 'grid'",
        ),
        ({"space": {"train.refit": {"low": 0.5, "high": 0.1}}}, "high must be above low, 0.5, got 0.1"),
        ({"space": {"train.refit": {"low": 0, "high": 0.1, "log": True}}}, "low must be > 0 with log, got 0"),
        ({"space": {"train.refit": [0.1]}, "trials": 3}, r"trials must be empty \(null\) with search 'grid', got 3"),
        ({"space": {"train.refit": [0.1]}, "search": "tpe"}, "trials must be a number with search 'tpe', got None"),
        ({"space": {"train.refit": [0.1]}, "objective": "front"}, "objective must be 'accuracy' with search 'grid'"),
        ({"space": {}}, "sweep.space"),
        ({"spacing": 1}, "unknown key 'sweep.spacing'; did you mean 'space'"),
    ],
)
def test_an_impossible_section_is_one_line(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SweepConfig.parse(values, "sweep")


def test_a_range_beyond_what_the_key_may_be_is_refused() -> None:
    wide = config({"train.refit": {"low": 0.1, "high": 1.5}}, search="random", trials=2)
    with pytest.raises(ConfigError, match=r"train.refit must be a number > 0.0 and <= 1.0, got 1.5 \(sweep.space\)"):
        check_space(wide, PARAMS)
