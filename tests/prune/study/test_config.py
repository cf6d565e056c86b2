import itertools

import pytest

from protoquant.core.errors import ConfigError
from protoquant.head.prune_plan import GradientTuning, Patience
from protoquant.prune.schedule import ratios_of
from protoquant.prune.study.config import StudyConfig


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ratios": [0.5, 0.2]}, r"ratios must rise, got \[0\.5, 0\.2\]"),
        ({"ratios": [0.0]}, "must be"),
        ({"tuners": ["refit", "refit"]}, "tuners must not repeat"),
        ({"gradient": {"stop": {}}}, r"gradient\.stop must be empty"),
        ({"unit": "entry", "criterion": "usage"}, "usage ranks prototypes"),
        ({"resamples": 1}, "resamples must be an integer >= 2"),
        ({"patience": {"patience": -1}}, r"patience\.patience must be"),
    ],
)
def test_impossible_studies_are_one_line(values, text) -> None:
    with pytest.raises(ConfigError, match=text):
        StudyConfig.parse(values, source="study.yaml")


def test_strategies_of_a_target() -> None:
    config = StudyConfig()
    assert config.strategies("refit", 0.4) == ("one_shot", "iterative")
    assert config.strategies("refit", 0.8) == ("one_shot", "iterative", "hybrid")
    assert config.strategies("gradient", 0.5) == ("one_shot", "iterative", "patience")
    assert config.strategies("gradient", 0.8) == ("one_shot", "iterative", "patience", "hybrid")


def test_plans_of_the_strategies() -> None:
    config = StudyConfig(cuts=5, gradient=GradientTuning(epochs=7), patience=Patience(patience=2), patience_epochs=30)
    once = config.plan("one_shot", "gradient", 0.8, 3)
    assert (once.schedule, once.end, once.gradient.epochs, once.seed) == ("one_shot", 0.8, 35, 3)
    steps = config.plan("iterative", "gradient", 0.8, 3)
    assert (steps.schedule, steps.gradient.epochs, steps.finetune) == ("geometric", 7, "each")
    patient = config.plan("patience", "gradient", 0.8, 3)
    assert (patient.gradient.epochs, patient.gradient.stop) == (30, Patience(patience=2))
    assert config.plan("hybrid", "refit", 0.8, 3).start == 0.5
    assert config.plan("hybrid", "refit", 0.8, 3).gradient is None
    unequal = config.model_copy(update={"equal_epochs": False})
    assert unequal.plan("one_shot", "gradient", 0.8, 3).gradient.epochs == 7


@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.55, 0.95])
@pytest.mark.parametrize("cuts", [2, 5, 9])
def test_every_target_is_reached_in_as_many_cuts(ratio, cuts) -> None:
    config = StudyConfig(cuts=cuts)
    found = ratios_of(config.plan("iterative", "refit", ratio, 0), ratio)
    assert len(found) == cuts
    left = [1.0, *(1 - gone for gone in found)]
    assert [b / a for a, b in itertools.pairwise(left)] == pytest.approx([(1 - ratio) ** (1 / cuts)] * cuts)
    if ratio > config.knee:
        found = ratios_of(config.plan("hybrid", "refit", ratio, 0), ratio)
        assert (len(found), found[0]) == (cuts, 0.5)


def test_a_study_is_read_from_yaml(tmp_path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("ratios: [0.3]\nresamples: 2\n")
    assert StudyConfig.load(path) == StudyConfig(ratios=(0.3,), resamples=2)


def test_every_field_is_described() -> None:
    assert all(field.description for field in StudyConfig.model_fields.values())
