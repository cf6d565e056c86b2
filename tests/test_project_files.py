"""The files beside the code agree with each other and with the package."""

import ast
import hashlib
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import protoquant

ROOT = Path(__file__).parents[1]


def read_yaml(name: str) -> Any:
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_names_this_version_and_the_paper(project: dict[str, Any]):
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == protoquant.__version__
    assert citation["license"] == project["license"]
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("ProtoQuant: Quantization of Prototypical Parts")
    assert [author["family-names"] for author in paper["authors"]] == ["Janusz", "Wrobel", "Zielinski", "Rymarczyk"]


def test_the_licence_is_the_unmodified_text_of_apache():
    # As published at https://www.apache.org/licenses/LICENSE-2.0.txt
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_hooks_run_the_tools_of_make_lint_and_download_nothing():
    (local,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    for hook in local["hooks"]:
        command = hook["entry"].removesuffix(" --force-exclude")
        assert command in recipe[1]
    assert len(local["hooks"]) == len(recipe[1].splitlines())


def test_no_public_class_name_is_defined_twice():
    places = defaultdict(list)
    for package in ("protoquant", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 300
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_table_of_what_is_where_is_that_of_the_layers():
    """Every package has its row, in the order in which it may import."""
    rows = re.findall(r"^\| .+? \| `protoquant/(\w+)/`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert rows == layers


def test_the_paths_that_the_pages_name_are_there():
    written = re.compile(r"`((?:protoquant|tests|flows|infra|benchmarks|docs|presets)/[\w./*-]*)`")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "infra/README.md"]
    named = [(page.name, path) for page in pages for path in written.findall(page.read_text(encoding="utf-8"))]
    assert len(named) > 50
    assert not [(page, path) for page, path in named if not list(ROOT.glob(path.rstrip("/")))]


def test_tests_mirror_the_package():
    beside = {"benchmarks", "builders", "faults", "flows", "infra", "integration", "warm"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    ours = [folder for folder in folders if folder.parts and folder.parts[0] not in beside]
    assert len(ours) > 30
    assert not [folder for folder in ours if not (ROOT / "protoquant" / folder / "__init__.py").is_file()]
