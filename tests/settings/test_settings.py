"""All sections of params.yaml as one value."""

from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError
from protoquant.settings.params_file import with_changes
from protoquant.settings.settings import Settings, read_params

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"quantize.layers": ["blocks.2", "last"]}, "quantize.layers must be of those that extract.layers names"),
        ({"quantize.layer_weights": [1.0]}, "quantize.layer_weights must be one number, or one for each layer"),
        ({"quantize.layer_weights": [1.0, 0]}, "^quantize.layer_weights.1 must be a number > 0.0.*got 0"),
        ({"quantize.feature_norm": "whiten"}, "quantize.feature_norm must be center_l2 with several layers"),
    ],
)
def test_what_the_layers_do_not_allow_is_refused_before_anything_is_extracted(changes, text) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        Settings.parse(with_changes(read_params(PARAMS), changes, "x"))
    assert "\n" not in str(caught.value)


def test_steadiness_without_the_views_that_it_compares_is_refused() -> None:
    without = {"extract.views": 0, "extract.augment": None}
    with pytest.raises(ConfigError, match=r"^train.joint.steadiness must be 0 without augmented views.*got 0.8"):
        Settings.parse(with_changes(read_params(PARAMS), without, "x"))
    Settings.parse(with_changes(read_params(PARAMS), without | {"train.joint.steadiness": 0.0}, "x"))
    Settings.parse(with_changes(read_params(PARAMS), without | {"train.joint": None}, "x"))


def test_sections_without_extract_are_those_of_a_plan_and_say_nothing_of_it() -> None:
    assert Settings.parse({"quantize": {"layers": ["blocks.4", "last"]}}).quantize.layers == ("blocks.4", "last")
