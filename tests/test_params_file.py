"""params.yaml edited in place by dotted keys."""

from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError
from protoquant.params_file import override
from protoquant.settings import Settings, read_params

ROOT = Path(__file__).parents[1]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_only_the_value_changes(params: Path) -> None:
    before = params.read_text()
    assert override(params, {"train.tolerance": 0.05})
    assert params.read_text() == before.replace("  tolerance: 0.01\n  # most prot", "  tolerance: 0.05\n  # most prot")
    assert not override(params, {"train.tolerance": 0.05}), "nothing to change"


def test_a_key_below_one_that_is_empty(params: Path) -> None:
    changes = {"quantize.learner": "ema", "quantize.epochs": 2, "quantize.ema": {"decay": 0.9}}
    assert override(params, changes)
    assert Settings.load(params).quantize.ema is not None
    assert override(params, {"train.joint.epochs": 3, "seed": 4, "train.temperature": 0.05})
    values = read_params(params)
    assert (values["train"]["joint"]["epochs"], values["seed"], values["train"]["temperature"]) == (3, 4, 0.05)


def test_what_is_refused_leaves_the_file(params: Path) -> None:
    before = params.read_bytes()
    for changes, sentence in (
        ({"train.tolerence": 1}, "unknown key 'train.tolerence'; did you mean 'tolerance'? (overrides)"),
        ({"train.tolerance": -1}, "train.tolerance must be a number >= 0.0 and <= 1.0, got -1 (overrides)"),
        ({"seed.x": 1}, "seed is a value and has no key below it (overrides)"),
        ({"train.refit": "much"}, "train.refit must be"),
    ):
        with pytest.raises(ConfigError) as error:
            override(params, changes)
        assert sentence in str(error.value)
    assert params.read_bytes() == before
