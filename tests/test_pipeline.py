"""There is one pipeline: dvc.yaml, the verbs, the settings, the paths and the code agree on it."""

from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from protoquant.core.section import Section
from protoquant.core.workspace import Workspace
from protoquant.settings import Settings

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
STEPS = {
    "prepare": "protoquant.data.prepare",
    "extract": "protoquant.features.extract",
    "quantize": "protoquant.codebook.quantize",
    "train": "protoquant.head.train",
    "evaluate": "protoquant.evaluation.evaluate",
    "visualize": "protoquant.explain.visualize",
}


def test_every_stage_is_the_verb_of_its_name() -> None:
    from protoquant.cli.stages import VERBS

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
    tracked = [param for stage in STAGES.values() for param in stage["params"] if param not in ("seed", "threads")]
    assert sorted(tracked) == sorted(sections) == sorted(STAGES)


def test_paths_of_the_workspace_are_the_outs() -> None:
    outs = [out for stage in STAGES.values() for out in stage.get("outs", [])]
    metrics = [path for stage in STAGES.values() for metric in stage.get("metrics", []) for path in metric]
    here = Workspace(Path())
    paths = [here.images, here.features, here.codebook, here.bundle, here.evaluation, here.report]
    assert outs == [path.as_posix() for path in paths]
    assert metrics == [here.metrics.as_posix()]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("protoquant", cache_dir=None)


@pytest.mark.parametrize("stage", STEPS)
def test_code_dependencies_are_what_the_step_imports(stage: str, graph: grimp.ImportGraph) -> None:
    closure = {STEPS[stage], *graph.find_upstream_modules(STEPS[stage])} - {"protoquant"}
    packages = {"/".join(module.split(".")[:2]) for module in closure}
    listed = {dep for dep in STAGES[stage]["deps"] if dep.startswith("protoquant/")}
    assert listed == packages


def test_fit_stages_name_no_test_data() -> None:
    for name in ("quantize", "train"):
        inputs = [dep for dep in STAGES[name]["deps"] if dep.startswith("artifacts/")]
        assert not {"artifacts/images", "artifacts/features"} & set(inputs)
        assert not [dep for dep in inputs if "test" in dep]


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
