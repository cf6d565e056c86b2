"""How the trials of a sweep are measured."""

from pathlib import Path
from typing import Any

import pytest

from protoquant.settings.settings import read_params
from protoquant.settings.sweep_section import SweepConfig
from protoquant.sweep.plan import SweepPlan

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")


def plan(space: dict[str, Any], **train: Any) -> SweepPlan:
    params = {**PARAMS, "train": {**PARAMS["train"], **train}}
    return SweepPlan("test", params, SweepConfig.parse({"space": space}, "sweep"), (), {})


@pytest.mark.parametrize(
    ("space", "train", "cross_fits"),
    [
        pytest.param({"quantize.size": [2]}, {}, True, id="the default"),
        pytest.param({"train.temperature": [0.1], "train.budget.ridge": [0.1]}, {}, True, id="keys before the choice"),
        pytest.param({"quantize.size": [2]}, {"choice": None}, False, id="no choice"),
        pytest.param({"quantize.size": [2]}, {"joint": None}, False, id="no joint training whose time it could take"),
        pytest.param({"train.joint.lr_head": [0.1]}, {}, False, id="a key of joint training"),
        pytest.param({"train.joint": [None]}, {}, False, id="joint training as a whole"),
        pytest.param({"train.grounding": ["medoid"]}, {}, False, id="grounding comes after the choice"),
        pytest.param({"train.choice.folds": [3]}, {}, False, id="a key of the choice"),
    ],
)
def test_trials_are_cross_fitted_where_nothing_searched_comes_after_the_choice(space, train, cross_fits) -> None:
    assert plan(space, **train).cross_fits == cross_fits


def test_plans_of_older_versions_are_measured_as_they_were() -> None:
    old = plan({"quantize.size": [2]})
    train = {name: value for name, value in old.params["train"].items() if name != "choice"}
    assert not SweepPlan("old", {**old.params, "train": train}, old.config, (), {}).cross_fits
