import subprocess
import sys

import pytest

from protoquant.core.errors import ConfigError
from protoquant.head.config import TrainConfig
from protoquant.head.prune_plan import GradientTuning, Patience, PrunePlan, StopRule


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "end is missing"),
        ({"end": 1.0}, r"end must be a number >= 0\.0 and < 1\.0"),
        ({"end": 0.5, "unit": "entry", "criterion": "redundancy"}, "redundancy ranks prototypes, got unit entry"),
        ({"budget": 3, "unit": "class_budget", "criterion": "usage"}, "usage ranks prototypes, got unit class_budget"),
        ({"end": 0.5, "usage": "presence"}, "usage has no effect with criterion contribution"),
        ({"end": 0.5, "norm": "max"}, "norm has no effect"),
        ({"end": 0.5, "unit": "entry", "criterion": "magnitude", "norm": "two"}, "norm has no effect"),
        ({"end": 0.5, "budget": 3}, "unit prototype takes no budget"),
        ({"unit": "class_budget"}, "unit class_budget needs budget"),
        ({"unit": "class_budget", "budget": 3, "end": 0.5}, "end follows from ratios or budget"),
        ({"unit": "class_budget", "budget": 3, "schedule": "manual", "ratios": [0.1]}, "use another schedule"),
        ({"end": 0.5, "sink_codes": 3}, "semantics mask takes no sink_codes"),
        ({"end": 0.5, "semantics": "sink"}, "semantics sink needs sink_codes"),
        ({"end": 0.5, "step": 0.1}, "schedule one_shot takes no step"),
        ({"end": 0.5, "schedule": "constant"}, "schedule constant needs step"),
        ({"end": 0.5, "schedule": "geometric", "step": 0.1, "start": 0.2}, "takes no start; remove it, or use hybrid"),
        ({"end": 0.5, "schedule": "hybrid", "step": 0.1}, "schedule hybrid needs start"),
        ({"end": 0.5, "schedule": "hybrid", "step": 0.1, "start": 0.5}, "start must be < end, got 0.5 and 0.5"),
        ({"schedule": "manual"}, "schedule manual needs ratios"),
        ({"schedule": "manual", "ratios": [0.2, 0.2]}, r"ratios must rise, got \[0\.2, 0\.2\]"),
        ({"end": 0.0}, "end 0 removes unused codes alone"),
        ({"end": 0.5, "tuner": "gradient"}, "tuner gradient needs gradient"),
        ({"end": 0.5, "gradient": {}}, "tuner refit takes no gradient"),
        ({"end": 0.5, "tuner": "gradient", "finetune": "none"}, "tuner has no effect with finetune none"),
        ({"end": 0.5, "penalty": 0.1, "finetune": "none"}, "penalty has no effect"),
        ({"end": 0.5, "stop": {}}, "stop needs tolerance"),
        ({"end": 0.5, "stop": {}, "tolerance": 0.0, "finetune": "last"}, "use finetune each or none"),
        ({"end": 0.5, "stop": {"patiense": 1}}, r"unknown key 'stop\.patiense'; did you mean 'patience'"),
        ({"end": 0.5, "criterium": "usage"}, "did you mean 'criterion'"),
    ],
)
def test_impossible_plans_are_one_line(values, text) -> None:
    with pytest.raises(ConfigError, match=text) as raised:
        PrunePlan.parse(values, source="plan.yaml")
    assert "\n" not in str(raised.value)


def test_a_plan_is_read_from_yaml(tmp_path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "schedule: hybrid\nstart: 0.5\nstep: 0.2\nend: 0.9\ntuner: gradient\n"
        "gradient: {epochs: 3, stop: {patience: 0}}\nstop: {drop: 0.1}\ntolerance: 0.01\n"
    )
    plan = PrunePlan.load(path)
    assert plan.gradient == GradientTuning(epochs=3, stop=Patience(patience=0))
    assert plan.stop == StopRule(drop=0.1)
    with pytest.raises(ConfigError, match="cannot be read"):
        PrunePlan.load(tmp_path / "none.yaml")
    path.write_text("a: [")
    with pytest.raises(ConfigError, match=r"plan\.yaml is not valid YAML"):
        PrunePlan.load(path)


def test_named_plans() -> None:
    assert PrunePlan.top_k(5).budget == 5
    assert PrunePlan.top_k(5).finetune == "none"
    assert PrunePlan.inactive().semantics == "compact"


def test_as_part_of_train_an_error_names_the_key() -> None:
    assert TrainConfig.parse({"prune": {"end": 0.5}}).prune == PrunePlan(end=0.5)
    with pytest.raises(ConfigError, match=r"train\.prune: end is missing"):
        TrainConfig.parse({"prune": {}}, where="train")


def test_every_field_is_described() -> None:
    for section in (PrunePlan, GradientTuning, Patience, StopRule):
        assert all(field.description for field in section.model_fields.values())


@pytest.mark.process
def test_importing_it_loads_no_torch() -> None:
    code = "import sys, protoquant.head.prune_plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
