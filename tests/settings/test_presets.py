"""Whole configurations: what they hold, and what writing one into params.yaml does."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.errors import ConfigError, UsageError
from protoquant.settings.presets import Preset, preset_names
from protoquant.settings.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "presets"
NAMES = preset_names(FOLDER)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and presets, and the current one."""
    (tmp_path / "presets").symlink_to(FOLDER)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paper() -> Settings:
    return Settings.parse(Preset.open(FOLDER, "paper").values)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_spells_out_its_sections_to_the_last_key(name: str) -> None:
    preset = Preset.open(FOLDER, name)
    dumped = Settings.parse(preset.values).model_dump(mode="json", by_alias=True)
    assert set(preset.values) == {"quantize", "train"}
    assert {section: dumped[section] for section in preset.values} == preset.values
    assert 10 < len(preset.summary) <= 90


def test_fast_is_what_the_sections_hold_by_themselves() -> None:
    assert Settings.parse(Preset.open(FOLDER, "fast").values) == Settings()


def test_paper_learns_codes_as_the_published_run() -> None:
    """The numbers of the released training script, with its warm-up mended and no revival."""
    codes = paper().quantize
    told = codes.gradient
    assert told is not None
    assert (codes.size, codes.size_unit, codes.seeding) == (2048, "codebook", "orthogonal")
    assert (codes.learner, codes.metric, codes.feature_norm) == ("gradient", "cosine", "none")
    assert (codes.epochs, told.warmup_epochs, codes.batch) == (60, 10, 2 * 128 * 7 * 7)
    assert (told.optimizer, told.lr, told.lr_scale, told.floor, told.weight_decay) == (
        "adam",
        5e-4,
        "absolute",
        1e-6,
        0.0,
    )
    assert (told.weight_task, told.weight_codebook, told.weight_balance, told.revive_every) == (1.0, 1.0, 0.0, 0)
    assert (told.smoothing, told.mixup) == (0.1, 0.8)


def test_paper_keeps_codes_fixed_and_ten_weights_a_class() -> None:
    head = paper().train
    assert head.gradient is not None
    assert head.prune is not None
    assert (head.solver, head.temperatures, head.gradient.objective) == ("gradient", (0.1,), "plain")
    assert (head.joint, head.grounding, head.tolerance) == (None, "centroid", 0.0)
    plan = head.prune
    assert (plan.unit, plan.criterion, plan.budget, plan.schedule) == ("class_budget", "magnitude", 10, "one_shot")
    assert (plan.semantics, plan.finetune, plan.tuner) == ("compact", "each", "gradient")


@pytest.mark.parametrize("name", NAMES)
def test_params_hold_the_preset_and_all_else_as_it_was(project: Path, name: str) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 7  # mine").replace("size: 40", "size: 5  # few"))
    preset, before = Preset.open(FOLDER, name), load(params)
    comments = comments_of(params)
    assert preset.apply(params)
    assert load(params) == {**before, **preset.values}
    assert comments <= comments_of(params)
    once = params.read_bytes()
    assert not preset.apply(params)
    assert params.read_bytes() == once
    assert [path.name for path in project.iterdir() if path.name.startswith(".")] == []


def test_fast_after_paper_gives_the_file_back(project: Path) -> None:
    params = project / "params.yaml"
    params.chmod(0o640)
    assert Preset.open(FOLDER, "paper").apply(params)
    assert Settings.load(params).train.prune is not None
    assert Preset.open(FOLDER, "fast").apply(params)
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert params.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("nothing", ["", " ~  # nothing"])
def test_however_nothing_is_written_no_comment_goes(project: Path, nothing: str) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace(": null\n", f":{nothing}\n"))
    comments = comments_of(params)
    for name in ("paper", "fast", "paper"):
        preset, before = Preset.open(FOLDER, name), load(params)
        assert preset.apply(params) or name == "fast"
        assert load(params) == {**before, **preset.values}
        assert comments <= comments_of(params)


@pytest.mark.parametrize("text", ["", "seed: 3\n", "seed: 3\ntrain:\n  crops: 1\n", "train: {crops: 1}\nseed: 3\n"])
def test_sections_that_are_missing_or_short_are_filled(tmp_path: Path, text: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    preset = Preset.open(FOLDER, "paper")
    assert preset.apply(params)
    assert load(params) == {**(load_text(text) or {}), **preset.values}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{seed: 3, train: {crops: 1}}\n", "plain keys"),
        ("seed: &a 3\ntrain:\n  crops: 1\nthreads: *a\nextra: 1\n", "unknown key 'extra'"),
        ("- 1\n", "must be a mapping"),
        ("seed: -1\n", "seed must be an integer >= 0, got -1"),
    ],
)
def test_a_file_that_cannot_be_edited_stays_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Preset.open(FOLDER, "fast").apply(params)
    assert params.read_text() == text


def test_an_unknown_name_is_one_line_that_knows_the_nearest(project: Path) -> None:
    with pytest.raises(UsageError, match=r"^no preset 'papr' among fast, paper; did you mean 'paper'\?$"):
        Preset.open(FOLDER, "papr")
    with pytest.raises(UsageError, match=r"no presets/NAME.yaml in .*; run from the project's folder"):
        preset_names(project / "elsewhere" / "presets")


def test_a_preset_with_an_impossible_value_names_its_file(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / "odd.yaml").write_text("# odd\nquantize:\n  size: 0\n")
    with pytest.raises(ConfigError, match=r"quantize.size must be an integer >= 1.*, got 0 \(mine/odd.yaml\)"):
        Preset.open(project / "mine", "odd")


def test_the_verb(project: Path) -> None:
    def said(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["config", "apply", *words])
        assert result.exit_code == code
        return " ".join(result.output.split())

    listed = said("--list")
    assert all(name in listed and Preset.open(FOLDER, name).summary.split(":")[0] in listed for name in NAMES)
    assert "quantize and train are those of preset paper" in said("paper")
    assert "holds preset paper already" in said("paper")
    assert "did you mean 'paper'?" in said("papr", code=2)
    assert "name a preset: fast, paper" in said(code=2)


def load_text(text: str) -> Any:
    return YAML(typ="safe").load(text)


def load(path: Path) -> Any:
    return load_text(path.read_text(encoding="utf-8"))


def comments_of(path: Path) -> set[str]:
    """Every comment, of its own line or behind a value."""
    return {line.partition("#")[2] for line in path.read_text(encoding="utf-8").splitlines() if "#" in line}
