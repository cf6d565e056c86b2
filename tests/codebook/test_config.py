import subprocess
import sys

import pytest

from protoquant.codebook.config import QuantizeConfig, read_layers, recorded
from protoquant.codebook.learners.config import EmaConfig, GradientLearnerConfig
from protoquant.core.errors import ConfigError

GRADIENT = {"learner": "gradient", "epochs": 20, "gradient": {}}


def test_lists_of_yaml_become_tuples():
    assert QuantizeConfig.parse({"probe_penalties": [1.0, 0.1]}).probe_penalties == (1.0, 0.1)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": -3}, r"quantize.size .*>= 1.*got -3"),
        ({"size": "lots"}, r"quantize.size .*integer.*got 'lots'"),
        ({"seeding": "class_awere"}, r"quantize.seeding .*got 'class_awere'; did you mean 'class_aware'"),
        ({"sise": 3}, r"unknown key 'quantize.sise'; did you mean 'size'"),
        ({"probe_penalties": []}, r"quantize.probe_penalties"),
        ({"probe_penalties": [0.0]}, r"quantize.probe_penalties.*got 0.0"),
        ({"tolerance": 1.0}, r"quantize.tolerance .*got 1.0"),
        ({"seeding": "random", "epochs": 0}, r"epochs must be at least 1 with seeding 'random', got 0"),
        (
            {"seeding": "random", "seeding_on_object": True, "epochs": 1},
            r"seeding_on_object must be false with seeding 'r",
        ),
        ({"keep": 0}, r"quantize.keep .*>= 1.*got 0"),
        ({"learner": "emma"}, r"quantize.learner .*got 'emma'; did you mean 'ema'"),
        (
            {"learner": "ema", "epochs": 3},
            r"ema must be a section, \{\} for its defaults, with learner 'ema', got null",
        ),
        ({"learner": "gradient", "epochs": 20}, r"gradient must be a section.* with learner 'gradient', got null"),
        ({"gradient": {}}, r"gradient must be null with learner 'kmeans', got a section"),
        ({"learner": "gradient", "epochs": 20, "gradient": {}, "ema": {}}, r"ema must be null with learner 'gradient'"),
        ({"learner": "ema", "ema": {}}, r"epochs must be at least 1 with learner 'ema', got 0"),
        ({"learner": "ema", "ema": {}, "epochs": 3, "update": "batch"}, r"update must be 'epoch' with learner 'ema'"),
        (GRADIENT | {"epochs": 9}, r"gradient.warmup_epochs must be at most epochs, 9, got 10"),
        (GRADIENT | {"gradient": {"lr": 0.0}}, r"quantize.gradient.lr must be a number > 0.*got 0.0"),
        (GRADIENT | {"gradient": {"learning_rate": 0.1}}, r"unknown key 'quantize.gradient.learning_rate'"),
        (GRADIENT | {"gradient": {"floor": 0.5}}, r"quantize.gradient: floor must be at most lr, 0.\d+, got 0.5"),
        (GRADIENT | {"gradient": {"weight_balance": 1.0}}, r"balance_temperature must be a number without weight_bal"),
        (GRADIENT | {"gradient": {"balance_temperature": 0.1}}, r"balance_temperature must be null with weight_bal"),
        (GRADIENT | {"gradient": {"weight_task": 0.0}}, r"smoothing must be 0 with weight_task 0, got 0.1"),
        (GRADIENT | {"gradient": {"weight_task": 0.0, "weight_codebook": 0.0}}, r"one of weight_task, weight_codebook"),
        (GRADIENT | {"gradient": {"optimizer": "adamw"}}, r"optimizer must be adam with weight_decay 0, got adamw"),
        (GRADIENT | {"gradient": {"revive_every": 0}}, r"revive_until must be null with revive_every 0, got 0.8"),
        (GRADIENT | {"gradient": {"revive_until": None}}, r"revive_until must be a share without revive_every 0"),
    ],
)
def test_an_impossible_value_names_its_key(values, text):
    with pytest.raises(ConfigError, match=text):
        QuantizeConfig.parse(values, where="quantize")


def test_a_codebook_records_that_it_looked_at_the_object_and_otherwise_keeps_its_bytes():
    off, on = (recorded(QuantizeConfig(seeding_on_object=value), ("last",)) for value in (False, True))
    assert on == {**off, "seeding_on_object": True}
    assert "seeding_on_object" not in off
    assert not QuantizeConfig.parse(off).seeding_on_object


def test_an_empty_section_takes_its_defaults():
    assert QuantizeConfig.parse(GRADIENT).gradient == GradientLearnerConfig()
    assert QuantizeConfig.parse({"learner": "ema", "epochs": 3, "ema": {}}).ema == EmaConfig()


@pytest.mark.parametrize("section", [EmaConfig, GradientLearnerConfig])
def test_every_value_of_a_learner_is_explained(section):
    assert all(field.description for field in section.model_fields.values())


@pytest.mark.process
def test_reading_the_section_loads_no_torch():
    code = "import sys, protoquant.codebook.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"layers": ("blocks.2", "last")},
            "quantize.layers must be of those that extract.layers names, {}, in their order",
        ),
        (
            {"layer_weights": (1.0,)},
            "quantize.layer_weights must be one number, or one for each layer that quantize reads, {}, got [1.0]",
        ),
        ({"layers": ("last",), "layer_weights": (2.0, 1.0)}, "layer that quantize reads, ['last'], got [2.0, 1.0]"),
        ({"feature_norm": "l2"}, "quantize.feature_norm must be center_l2 with several layers, {}, got l2"),
        ({"metric": "euclidean"}, "quantize.metric must be cosine with several layers, {}, got euclidean"),
        (GRADIENT, "quantize.learner must be kmeans or ema with several layers, {}, got gradient"),
    ],
)
def test_what_means_nothing_for_the_layers_is_one_line(values, text):
    with pytest.raises(ConfigError) as caught:
        read_layers(QuantizeConfig.parse(values), ("blocks.4", "last"))
    assert text.format(["blocks.4", "last"]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layers_of_another_order_are_refused_since_weights_follow_it():
    config = QuantizeConfig(layers=("blocks.4", "blocks.2", "last"), layer_weights=(1.0, 2.0, 1.0))
    with pytest.raises(ConfigError, match="in their order"):
        read_layers(config, ("blocks.2", "blocks.4", "last"))
    assert read_layers(QuantizeConfig(layers=("blocks.4", "last")), ("blocks.2", "blocks.4", "last")) == (
        "blocks.4",
        "last",
    )
