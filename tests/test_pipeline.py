"""There is one pipeline: dvc.yaml, the verbs, the settings, the paths and the code agree on it."""

from pathlib import Path
from typing import Any, get_args

from dvc_data.hashfile.meta import Meta
from ruamel.yaml import YAML

from protoquant.core.section import Section
from protoquant.core.workspace import Workspace
from protoquant.settings.settings import Settings

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def test_every_stage_is_the_verb_of_its_name() -> None:
    from protoquant.cli.pipeline.stages import VERBS

    assert [verb.__name__ for verb in VERBS] == list(STAGES)
    assert [stage["cmd"] for stage in STAGES.values()] == [f"protoquant {name}" for name in STAGES]


def test_every_setting_belongs_to_exactly_one_stage() -> None:
    sections = [
        field.alias or name
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    ]
    for name in ("sweep", "gates"):  # no stage reads them
        sections.remove(name)
    listed = [param for stage in STAGES.values() for param in stage.get("params", [])]
    tracked = [param for param in listed if param not in ("seed", "threads") and "." not in param]
    assert sorted(tracked) == sorted(sections) == sorted(STAGES.keys() - {"code"})


def test_paths_of_the_workspace_are_the_outs() -> None:
    outs = [next(iter(out)) if isinstance(out, dict) else out for one in STAGES.values() for out in one.get("outs", [])]
    metrics = [path for stage in STAGES.values() for metric in stage.get("metrics", []) for path in metric]
    here = Workspace(Path())
    paths = [
        here.code,
        here.images,
        here.parts,
        here.features,
        here.codebook,
        here.bundle,
        here.evaluation,
        here.report,
    ]
    assert outs == [path.as_posix() for path in paths]
    assert metrics == [here.metrics.as_posix()]


def test_code_is_an_input_of_each_step_by_its_own_file_and_no_folder_of_sources() -> None:
    from protoquant.pipeline.code import STEPS

    assert list(STEPS) == [name for name in STAGES if name not in ("code", "register")]
    for name, stage in STAGES.items():
        code = [dep for dep in stage.get("deps", []) if dep.startswith(("artifacts/code/", "protoquant/"))]
        assert code == ([f"artifacts/code/{name}.json"] if name in STEPS else [])


def test_fit_stages_name_no_test_data() -> None:
    for name in ("quantize", "train"):
        inputs = [dep for dep in STAGES[name]["deps"] if dep.startswith("artifacts/")]
        assert not {"artifacts/images", "artifacts/features"} & set(inputs)
        assert not [dep for dep in inputs if "test" in dep]


def keys_below(annotation: Any, name: str) -> list[str]:
    """Dotted names of all keys that a value of a section may have."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        fields = [(f"{name}.{field.alias or key}", field.annotation) for key, field in annotation.model_fields.items()]
        return [found for key, inner in fields for found in (key, *keys_below(inner, key))]
    return [found for part in get_args(annotation) for found in keys_below(part, name)]


def test_what_the_run_cache_overlooks_is_named_in_full() -> None:
    """Else another ``size`` restores the outputs of the old one: https://github.com/treeverse/dvc/issues/10296."""
    every = [key for name, field in Settings.model_fields.items() for key in keys_below(field.annotation, name)]
    assert {"train.joint.lr_codes", "quantize.gradient.lr"} <= set(every), "else sections in sections are not seen"
    overlooked = [key for key in every if key.rpartition(".")[2] in (Meta.PARAM_SIZE, Meta.PARAM_NFILES)]
    listed = [param for stage in STAGES.values() for param in stage.get("params", []) if "." in param]
    assert sorted(listed) == sorted(key for key in overlooked if key.partition(".")[0] in STAGES)


def test_params_spell_out_every_key() -> None:
    Settings.load(ROOT / "params.yaml")
    raw = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    dumped = Settings().model_dump(mode="json", by_alias=True)
    assert {name: set(value) if isinstance(value, dict) else None for name, value in raw.items()} == {
        name: set(value) if isinstance(value, dict) else None for name, value in dumped.items()
    }


def test_every_value_is_explained() -> None:
    for name, field in Settings.model_fields.items():
        section = field.annotation
        fields = section.model_fields if isinstance(section, type) and issubclass(section, Section) else {name: field}
        for key, inner in fields.items():
            assert inner.description, f"{name}.{key} has no description"
