"""params.yaml edited in place by dotted keys."""

from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError
from protoquant.settings.params_file import override, with_changes
from protoquant.settings.settings import Settings, read_params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_only_the_value_changes(params: Path) -> None:
    before = params.read_text()
    assert override(params, {"train.tolerance": 0.05})
    assert params.read_text() == before.replace("  tolerance: 0.01\n  # how size", "  tolerance: 0.05\n  # how size")
    assert not override(params, {"train.tolerance": 0.05}), "nothing to change"


def test_a_key_below_one_that_is_empty(params: Path) -> None:
    changes = {"quantize.learner": "ema", "quantize.epochs": 2, "quantize.ema": {"decay": 0.9}}
    assert override(params, changes)
    assert Settings.load(params).quantize.ema is not None
    assert override(params, {"train.joint.epochs": 3, "seed": 4, "train.temperature": 0.05})
    values = read_params(params)
    assert (values["train"]["joint"]["epochs"], values["seed"], values["train"]["temperature"]) == (3, 4, 0.05)


def test_line_ends_mode_and_a_link_stay(params: Path, tmp_path: Path) -> None:
    params.write_bytes(params.read_bytes().replace(b"\n", b"\r\n"))
    params.chmod(0o640)
    lines, link = params.read_bytes().count(b"\r\n"), tmp_path / "link.yaml"
    link.symlink_to(params)
    assert override(link, {"train.tolerance": 0.05})
    assert link.is_symlink()
    assert (params.stat().st_mode & 0o777, Settings.load(params).train.tolerance) == (0o640, 0.05)
    held = params.read_bytes()
    assert held.count(b"\r\n") == held.count(b"\n") == lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "params.yaml"]


def test_values_that_are_changed_are_a_copy() -> None:
    values = {"train": {"tolerance": 0.01}}
    assert with_changes(values, {"train.tolerance": 0.05}, "x") == {"train": {"tolerance": 0.05}}
    assert values == {"train": {"tolerance": 0.01}}


def test_a_file_that_cannot_be_edited_in_place_stays(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("seed: &n 3\nthreads: *n\n")
    with pytest.raises(ConfigError, match="must hold plain keys, one a line, to be edited in place"):
        override(params, {"seed": 4})
    assert params.read_text() == "seed: &n 3\nthreads: *n\n"


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
