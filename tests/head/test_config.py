import subprocess
import sys

import pytest

from protoquant.core.errors import ConfigError
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.head.solvers.gradient_config import GradientHeadConfig

FREE = {"codes": "free", "mixture": None}


def by_gradient(**values: object) -> dict[str, object]:
    return {"solver": "gradient", "budget": None, "choice": None, "gradient": values}


def test_one_temperature_or_a_list() -> None:
    assert TrainConfig.parse({"temperature": 0.1}).temperatures == (0.1,)
    assert TrainConfig.parse({"temperature": [0.1, 0.05]}).temperatures == (0.1, 0.05)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"temperature": 0}, r"train\.temperature must be"),
        ({"temperature": []}, r"train\.temperature must be"),
        ({"temperature": [0.1, 0.1]}, r"temperature must not repeat a value, got \[0\.1, 0\.1\]"),
        ({"points": 0}, r"train\.points must be an integer >= 1"),
        ({"ratio": 1.0}, r"train\.ratio must be a number >= 1e-05 and <= 0\.9"),
        ({"refit": 0.0}, r"train\.refit must be a number > 0"),
        ({"tolerance": -0.1}, r"train\.tolerance must be a number >= 0"),
        ({"grounding": "medoids"}, r"train\.grounding must be"),
        (
            {**FREE, "grounding": "mean"},
            r"grounding_patches must be a number from 2 to 16 with grounding mean, got None",
        ),
        ({"grounding_patches": 4}, r"grounding_patches must be null with grounding centroid, got 4"),
        ({**FREE, "grounding": "medoid", "grounding_patches": 4}, r"must be null with grounding medoid, got 4"),
        (
            {**FREE, "grounding": "medoid"},
            r"joint must be null with grounding medoid, which would throw its work away.*set train\.joint to null, or",
        ),
        ({"grounding": "chosen", "grounding_patches": 17}, r"train\.grounding_patches must be"),
        ({"crops": 9}, r"train\.crops must be an integer >= 0 and <= 8"),
        ({"solver": "adam"}, r"train\.solver must be one of budget, proximal, gradient, got 'adam'"),
        ({"solver": "gradient", "budget": None}, r"gradient must be a section with solver gradient, got null"),
        ({"gradient": {}}, r"gradient must be null with solver budget, got a section"),
        ({"budget": None}, r"budget must be a section with solver budget, got null; fill train\.budget"),
        ({"solver": "proximal"}, r"budget must be null with solver proximal, got a section"),
        ({"solver": "gradient", "gradient": {}}, r"budget must be null with solver gradient, got a section"),
        ({"choice": {"folds": 1}}, r"train\.choice\.folds must be an integer >= 2 and <= 20, got 1"),
        ({"choice": {"repeats": 0}}, r"train\.choice\.repeats must be an integer >= 1"),
        (
            {"choice": {"rule": "one_sd"}},
            r"train\.choice\.rule must be one of one_se, tolerance, got 'one_sd'; did you",
        ),
        (
            {"solver": "gradient", "budget": None, "gradient": {}},
            r"choice must be null with solver gradient, whose epochs validation chooses.*set train\.choice to null",
        ),
        ({"mixture": None}, r"mixture must be a section, \{\} for its defaults, with codes mixture, got null"),
        ({"codes": "free"}, r"mixture must be null with codes free, got a section"),
        ({"mixture": {"patches": 0}}, r"train\.mixture\.patches must be an integer >= 1.*got 0"),
        (
            {"grounding": "medoid"},
            r"grounding must be centroid with codes mixture, which are grounded in train patches already, got medoid",
        ),
        ({"joint": {"steadiness": -1}}, r"train\.joint\.steadiness must be a number >= 0"),
        ({"fit_on": "every"}, r"train\.fit_on must be one of train, all"),
        (
            {"fit_on": "all", "choice": None},
            r"choice must be a section with fit_on all, which leaves no",
        ),
        ({"fit_on": "all", "prune": {"end": 0.3}}, r"prune must be null with fit_on all.*or train\.fit_on to train"),
        ({"fit_on": "all", "grounding": "medoid"}, r"grounding must be centroid with fit_on all"),
        ({"budget": {"sizes": [5, 3]}}, r"sizes must rise, got \[5, 3\]"),
        ({"budget": {"sizes": [3, 3]}}, r"sizes must rise, got \[3, 3\]"),
        ({"budget": {"sizes": [0]}}, r"train\.budget\.sizes"),
        ({"budget": {"ridge": 0.0}}, r"train\.budget\.ridge must be a number > 0"),
        ({"joint": {"epochs": 0}}, r"train\.joint\.epochs must be an integer >= 1"),
        ({"joint": {"lr_codes": 0.0}}, r"train\.joint\.lr_codes must be a number > 0"),
        ({"joint": {"prototype_dropout": 1.0}}, r"train\.joint\.prototype_dropout must be a number >= 0\.0 and < 1\.0"),
        ({"joint": {"drop": 0.1}}, r"unknown key 'train\.joint\.drop'"),
        (by_gradient(penalties=[]), r"train\.gradient\.penalties must be"),
        (by_gradient(penalties=[0.1, 0.1]), r"penalties must not repeat a value, got \[0\.1, 0\.1\]"),
        (by_gradient(epochs=5), r"warmup_epochs must be below epochs, 5, got 10"),
        (by_gradient(optimizer="adamw"), r"optimizer must be adam with weight_decay 0, got adamw"),
        (by_gradient(smoothing=1.0), r"train\.gradient\.smoothing must be a number >= 0\.0 and < 1\.0"),
        (by_gradient(rate=0.1), r"unknown key 'train\.gradient\.rate'"),
        ({"tolerence": 0.1}, r"unknown key 'train\.tolerence'; did you mean 'tolerance'\?"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        TrainConfig.parse(values, where="train")


def test_the_default_is_the_budget_solver_and_joint_training() -> None:
    config = TrainConfig.parse({})
    assert (config.solver, config.gradient) == ("budget", None)
    assert config.budget == BudgetConfig()
    assert config.joint == JointConfig()
    assert config.choice == ChoiceConfig()
    assert TrainConfig.parse({"joint": None}).joint is None
    assert TrainConfig.parse({**FREE, "joint": None, "grounding": "medoid"}).grounding == "medoid"


def test_every_field_is_described() -> None:
    for section in (TrainConfig, BudgetConfig, ChoiceConfig, GradientHeadConfig, JointConfig):
        assert all(field.description for field in section.model_fields.values())


@pytest.mark.process
def test_importing_it_loads_no_torch() -> None:
    code = "import sys, protoquant.head.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
