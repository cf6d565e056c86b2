"""How the trials of a sweep are measured."""

from pathlib import Path
from typing import Any

import pytest
import torch

from protoquant.codebook.config import QuantizeConfig, recorded
from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.core.workspace import Workspace
from protoquant.features.store.writer import write_store
from protoquant.features.tokens import LayeredTokens
from protoquant.settings.settings import read_params
from protoquant.settings.sweep_section import SweepConfig
from protoquant.sweep.plan import SweepPlan
from tests.builders.specs import spec

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
        pytest.param({"train.choice.folds": [3]}, {}, False, id="a key of the choice"),
    ],
)
def test_trials_are_cross_fitted_where_nothing_searched_comes_after_the_choice(space, train, cross_fits) -> None:
    assert plan(space, **train).cross_fits == cross_fits


def test_plans_of_older_versions_are_measured_as_they_were() -> None:
    old = plan({"quantize.size": [2]})
    train = {name: value for name, value in old.params["train"].items() if name != "choice"}
    assert not SweepPlan("old", {**old.params, "train": train}, old.config, (), {}).cross_fits


TABLE = {"robin": 1.0, "wren": 2.0}


@pytest.mark.parametrize(
    ("space", "train", "measure"),
    [
        pytest.param({"quantize.size": [2]}, {}, "top1", id="the default"),
        pytest.param({"quantize.size": [2]}, {"class_weights": "balanced"}, "balanced_accuracy", id="params.yaml"),
        pytest.param({"train.class_weights": ["balanced", TABLE]}, {}, "balanced_accuracy", id="searched"),
        pytest.param({"train.class_weights": ["none"]}, {"class_weights": TABLE}, "top1", id="searched, none"),
    ],
)
def test_trials_with_class_weights_are_compared_by_balanced_accuracy(space, train, measure) -> None:
    assert plan(space, **train).measure == measure


def test_trials_that_different_accuracies_would_compare_are_refused(workspace: Workspace) -> None:
    space = {"space": {"train.class_weights": ["none", "balanced"]}, "search": "grid"}
    with pytest.raises(ConfigError, match=r"^sweep.space: train.class_weights must not try none beside weights, since"):
        SweepPlan.make("one", {**PARAMS, "sweep": space}, workspace)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Features of two layers; no image and no token is looked at."""
    found = Workspace(tmp_path)
    with writing(found.images / "train", "images", {}):
        pass
    tokens = LayeredTokens((torch.ones(2, 4, 3), torch.ones(2, 1, 5)), ((2, 2), (1, 1)), ("blocks.4", "last"))
    for split in ("train", "validation"):
        write_store(found.features / split, tokens, [0, 1], ["a", "b"], (1, 1), spec(layers=("blocks.4", "last")))
    return found


def test_trials_that_seed_on_the_object_read_the_train_masks(workspace: Workspace) -> None:
    with writing(workspace.parts / "train", "parts", {}):
        pass
    search = SweepConfig.parse({"space": {"quantize.size": [2]}}, "sweep")
    both = SweepConfig.parse({"space": {"quantize.seeding_on_object": [False, True]}}, "sweep")
    for config, value, reads in ((search, False, False), (search, True, True), (both, False, True)):
        found = SweepPlan("x", {"quantize": {"seeding_on_object": value}}, config, (), {}).inputs_of(workspace)
        assert ("parts/train" in found) == reads


@pytest.mark.parametrize("layers", [("last",), ("blocks.4", "last"), None])
def test_a_sweep_of_train_alone_takes_the_codebook_of_params_and_no_other(
    workspace: Workspace, layers: tuple[str, ...] | None
) -> None:
    config = QuantizeConfig(layers=layers)
    with writing(workspace.codebook, "codebook", {}, params=recorded(config, layers or ("blocks.4", "last"))):
        pass
    own, other = (
        SweepPlan(
            "x", {"quantize": {"layers": of}}, SweepConfig.parse({"space": {"train.ratio": [0.1]}}, "sweep"), (), {}
        )
        for of in (layers, None if layers == ("last",) else ["last"])
    )
    assert "codebook" in own.inputs_of(workspace)
    with pytest.raises(ArtifactError, match=r"was learned with another quantize\.layers than params.yaml has; run dvc"):
        other.inputs_of(workspace)
