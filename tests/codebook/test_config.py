import subprocess
import sys

import pytest

from protoquant.codebook.config import QuantizeConfig
from protoquant.core.errors import ConfigError


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
    ],
)
def test_an_impossible_value_names_its_key(values, text):
    with pytest.raises(ConfigError, match=text):
        QuantizeConfig.parse(values, where="quantize")


def test_reading_the_section_loads_no_torch():
    code = "import sys, protoquant.codebook.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
