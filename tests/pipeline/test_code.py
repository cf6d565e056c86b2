"""What each step imports, read from the sources that are here; under DVC: tests/integration/test_code."""

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import protoquant
from protoquant.core.artifacts import digest_file, read_json
from protoquant.core.errors import UsageError
from protoquant.core.events import Event, MessageEvent
from protoquant.core.syntax import syntax_digest
from protoquant.data.readers.registry import READERS
from protoquant.pipeline import code
from protoquant.pipeline.code import HARMLESS, REGISTRIES, SHIPPED, STEPS, StageCode, read_code, write_code

ROOT = Path(protoquant.__file__).parent
EMPTY = StageCode({}, {}, {})


@pytest.fixture(scope="module")
def found() -> dict[str, StageCode]:
    return read_code()


def test_a_step_its_imports_and_their_packages_are_named_with_the_digests_of_their_syntax(
    found: dict[str, StageCode],
) -> None:
    for stage, steps in STEPS.items():
        modules = found[stage].modules
        for step in steps:
            assert {step, "protoquant", step.rpartition(".")[0], "protoquant.core.errors"} <= modules.keys()
            path = ROOT.parent.joinpath(*step.split(".")).with_suffix(".py")
            assert modules[step] == syntax_digest(path.read_text())
        assert modules["protoquant"] == syntax_digest((ROOT / "__init__.py").read_text())


def test_imports_inside_of_functions_count_and_those_for_types_alone_do_not() -> None:
    found = read_code({"model": ("protoquant",), "files": ("protoquant.core.artifacts",)})
    assert "protoquant.model.classifier" in found["model"].modules
    assert found["files"].packages.keys() == {"pandas", "pyarrow", "safetensors"}, "torch stands under TYPE_CHECKING"


def test_what_a_registry_imports_by_name_counts(found: dict[str, StageCode]) -> None:
    assert {f"protoquant.data.readers.{name}" for name in READERS} <= found["prepare"].modules.keys()
    assert "protoquant.data.partbirds.painting.paint" in found["prepare"].modules
    assert "protoquant.data.readers.partbirds" not in found["extract"].modules
    by_name = {path for path in ROOT.rglob("*.py") if "import_module(" in path.read_text()}
    registries = {ROOT.parent.joinpath(*name.split(".")).with_suffix(".py") for name in REGISTRIES}
    # The public names of a package are imported by name too, but by nobody here: tests/test_public_names.py.
    assert by_name - {ROOT / "core/public_names.py"} == registries, "what imports by name is listed in REGISTRIES"


def test_what_lies_outside_of_a_step_is_not_in_it(found: dict[str, StageCode]) -> None:
    assert not [name for one in found.values() for name in one.modules if name.startswith("protoquant.cli")]
    assert not [name for name in found["evaluate"].modules if name.startswith("protoquant.explain")]
    assert [name for name in found["visualize"].modules if name.startswith("protoquant.explain")]


def test_templates_beside_a_module_are_named_by_their_bytes(found: dict[str, StageCode]) -> None:
    own = [f"explain/report/report.{ending}" for ending in ("css", "html", "js")]
    assert list(found["visualize"].files) == [*own, "pages/base.css", "pages/base.html"]
    assert all(digest == digest_file(ROOT / page) for page, digest in found["visualize"].files.items())
    assert not [stage for stage, code in found.items() if code.files and stage != "visualize"]


def test_what_counts_beside_modules_is_what_a_wheel_holds() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["package-data"]["protoquant"]
    assert sorted(listed) == sorted(["py.typed", *(f"**/*{ending}" for ending in SHIPPED)])
    assert {path.name for path in code._inputs(ROOT / "explain" / "report")} == {
        "report.css",
        "report.html",
        "report.js",
    }


def test_packages_have_their_release_and_harmless_ones_none(found: dict[str, StageCode]) -> None:
    assert (
        found["extract"].packages.items()
        >= {
            "torch": version("torch").partition("+")[0],
            "timm": version("timm"),
            "pillow": version("pillow"),
        }.items()
    )
    for one in found.values():
        assert not HARMLESS & one.packages.keys()
        assert "absent" not in one.packages.values()


def test_the_versions_of_a_package_with_another_name_are_found() -> None:
    assert code._versions({"PIL", "yaml", "numpy"}) == {
        "PyYAML": version("PyYAML"), "numpy": version("numpy"), "pillow": version("pillow"),
    }  # fmt: skip
    assert code._versions({"no_such_package"}) == {"no_such_package": "absent"}


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, **stages: StageCode) -> str:
    told: list[Event] = []
    monkeypatch.setattr(code, "read_code", lambda: dict.fromkeys(STEPS, EMPTY) | stages)
    write_code(folder, told.append)
    (event,) = told
    assert isinstance(event, MessageEvent)
    return event.text


def test_it_tells_what_changed_and_who_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = StageCode({"protoquant.head.candidates": "a"}, {"explain/report/report.css": "b"}, {"torch": "2.1"})
    said = [
        write(tmp_path, monkeypatch, train=first, visualize=first),
        write(tmp_path, monkeypatch, train=first, visualize=first),
        write(tmp_path, monkeypatch, train=first, visualize=StageCode(first.modules, {}, first.packages)),
        write(
            tmp_path, monkeypatch, train=StageCode({"protoquant.head.candidates": "c"}, first.files, {"torch": "2.2"})
        ),
    ]
    assert said[:2] == ["code of 6 stages read"] * 2
    assert said[2] == "code changed: explain/report/report.css; used by visualize"
    assert said[3] == "code changed: head.candidates, torch; used by train, visualize"
    assert read_json(tmp_path / "train.json")["packages"] == {"torch": "2.2"}
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_a_file_that_says_the_same_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    (tmp_path / "train.json").write_text("{")
    write(tmp_path, monkeypatch)
    assert {path.name for path, time in before.items() if path.stat().st_mtime_ns != time} == {"train.json"}
    assert read_json(tmp_path / "train.json") == {"modules": {}, "files": {}, "packages": {}}


def test_without_what_reads_imports_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grimp", None)
    with pytest.raises(UsageError, match=r"needs grimp: pip install 'protoquant\[pipeline\]'"):
        read_code()
