"""Whole configurations: what they hold, and what writing one into params.yaml does."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.errors import ConfigError, UsageError
from protoquant.features.backbone.catalogue import backbone_names, describe
from protoquant.settings.presets import Preset, apply, preset_names
from protoquant.settings.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "presets"
NAMES = preset_names(FOLDER)
DATA, BACKBONES = preset_names(FOLDER, "data"), preset_names(FOLDER, "backbone")


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
    assert apply([preset], params)
    assert load(params) == {**before, **preset.values}
    assert comments <= comments_of(params)
    once = params.read_bytes()
    assert not apply([preset], params)
    assert params.read_bytes() == once
    assert [path.name for path in project.iterdir() if path.name.startswith(".")] == []


def test_fast_after_paper_gives_the_file_back(project: Path) -> None:
    params = project / "params.yaml"
    params.chmod(0o640)
    assert apply([Preset.open(FOLDER, "paper")], params)
    assert Settings.load(params).train.prune is not None
    assert apply([Preset.open(FOLDER, "fast")], params)
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert params.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("nothing", ["", " ~  # nothing"])
def test_however_nothing_is_written_no_comment_goes(project: Path, nothing: str) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace(": null\n", f":{nothing}\n"))
    comments = comments_of(params)
    for name in ("paper", "fast", "paper"):
        preset, before = Preset.open(FOLDER, name), load(params)
        assert apply([preset], params) or name == "fast"
        assert load(params) == {**before, **preset.values}
        assert comments <= comments_of(params)


@pytest.mark.parametrize("text", ["", "seed: 3\n", "seed: 3\ntrain:\n  crops: 1\n", "train: {crops: 1}\nseed: 3\n"])
def test_sections_that_are_missing_or_short_are_filled(tmp_path: Path, text: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    preset = Preset.open(FOLDER, "paper")
    assert apply([preset], params)
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
        apply([Preset.open(FOLDER, "fast")], params)
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
    assert "name a preset (fast, paper), --data or --backbone" in said(code=2)


def recipe(name: str, data: str, backbone: str) -> list[Preset]:
    given = {"preset": name, "data": data, "backbone": backbone}
    return [Preset.open(FOLDER, one, kind) for kind, one in given.items()]


def test_every_recipe_is_valid() -> None:
    for names in itertools.product(NAMES, DATA, BACKBONES):
        values = {key: held for preset in recipe(*names) for key, held in preset.values.items()}
        assert set(values) == {"quantize", "train", "prepare", "extract"}
        Settings.parse(values, source=str(names))


def test_the_delivered_params_are_a_recipe(project: Path) -> None:
    assert not apply(recipe("fast", "partbirds", "efficientnet_lite0"), project / "params.yaml")


def test_a_recipe_changes_values_and_leaves_what_is_said_of_keys(project: Path) -> None:
    chosen = recipe("fast", "imagenet", "dinov2_b")
    params, before = project / "params.yaml", load(project / "params.yaml")
    comments = comments_of(params)
    assert apply(chosen, params)
    assert load(params) == before | {key: value for preset in chosen for key, value in preset.values.items()}
    assert comments <= comments_of(params)


@pytest.mark.parametrize("kind", ["data", "backbone"])
def test_presets_of_data_and_backbones_are_short_and_say_what_they_are(kind: str) -> None:
    for name in preset_names(FOLDER, kind):
        preset = Preset.open(FOLDER, name, kind)
        assert list(preset.values) == ["prepare" if kind == "data" else "extract"]
        assert 10 < len(preset.summary) <= 90


def test_the_backbones_are_timms_and_have_the_layers_that_are_named() -> None:
    for name in BACKBONES:
        extract = Preset.open(FOLDER, name, "backbone").values["extract"]
        if extract["weights"] == "hub":
            assert extract["backbone"] in backbone_names(extract["backbone"]), "timm has weights of this very tag"
        layers = describe(extract["backbone"], input_size=extract["input_size"]).layers
        assert set(extract["layers"]) <= set(layers)


def test_what_was_set_for_other_data_is_gone(project: Path) -> None:
    params = project / "params.yaml"
    assert apply([Preset.open(FOLDER, "cub", "data")], params)
    params.write_text(params.read_text().replace("crop: false", "crop: true"))
    assert apply([Preset.open(FOLDER, "cars", "data")], params)
    assert load(params)["prepare"]["crop"] is False


def test_the_verb_takes_data_and_backbone_with_or_without_a_preset(project: Path) -> None:
    def said(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["config", *words])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    whole = said("apply", "paper", "--data", "cub", "--backbone", "dinov2_b")
    assert "quantize and train and prepare and extract are those of preset paper, data cub, backbone dinov2_b" in whole
    assert "there is no data/CUB_200_2011" in said("check", code=2)
    (project / "data" / "CUB_200_2011").mkdir(parents=True)
    assert "params.yaml is valid" in said("check")
    assert "extract are those of backbone deit_s" in said("apply", "--backbone", "deit_s")
    assert "no backbone 'resnet_50' among" in said("apply", "--backbone", "resnet_50", code=2)
    assert "did you mean 'cub'?" in said("apply", "--data", "cubs", code=2)


@pytest.mark.process
def test_a_recipe_can_be_planned_before_its_data_is_there(project: Path) -> None:
    assert apply(recipe("fast", "cub", "deit_s"), project / "params.yaml")
    counts = ["--images", "4795", "--validation", "1199", "--test", "5794", "--classes", "200"]
    result = CliRunner().invoke(app, ["plan", "--seconds", "0", *counts])
    assert "14 x 14 cells of 384 numbers in float16; 2,400 codes" in " ".join(result.output.split())


def load_text(text: str) -> Any:
    return YAML(typ="safe").load(text)


def load(path: Path) -> Any:
    return load_text(path.read_text(encoding="utf-8"))


def comments_of(path: Path) -> set[str]:
    """Every comment, of its own line or behind a value."""
    return {line.partition("#")[2] for line in path.read_text(encoding="utf-8").splitlines() if "#" in line}
