"""The public names of our packages: they resolve, load nothing before, and are used by no module of ours."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import protoquant

ROOT = Path(protoquant.__file__).parent
INITS = sorted(path for path in ROOT.rglob("__init__.py") if path.parent != ROOT)
PACKAGES = [".".join(path.parent.relative_to(ROOT.parent).parts) for path in INITS]
NAMED = [name for name, path in zip(PACKAGES, INITS, strict=True) if "lazily(" in path.read_text()]
CONTRACT = {"tracking/registry/pyfunc.py"}
"""What runs beside other releases of the package, from a registered version: the public names are its contract."""


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each ``from protoquant... import name``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("protoquant."):
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_in_one_sentence_what_it_is_for(name: str) -> None:
    said = (import_module(name).__doc__ or "").strip()
    assert said.endswith((".", "?")), said
    assert "\n" not in said


@pytest.mark.process  # that of uname, by what some modules import
@pytest.mark.parametrize("name", NAMED)
def test_each_public_name_resolves_and_type_checkers_see_the_same(name: str) -> None:
    package = import_module(name)
    own = [pair for pair in imports(Path(str(package.__file__))) if pair[1] != "lazily"]
    typed = {public: module for module, public in own}
    assert dir(package) == package.__all__ == sorted(typed)
    for public, module in typed.items():
        assert getattr(package, public) is getattr(import_module(module), public)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.process
def test_a_package_alone_loads_nothing_heavy() -> None:
    heavy = "('torch', 'timm', 'numpy', 'pandas', 'mlflow', 'dvc', 'ray', 'boto3', 'pydantic', 'matplotlib')"
    code = f"import sys, {', '.join(PACKAGES)}; sys.exit(', '.join(set({heavy}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_our_modules_import_from_the_module_that_defines_a_name() -> None:
    """Else the code of a step could not be read from its imports."""
    by_package = {
        f"{path.relative_to(ROOT)}: {module} {name}"
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).as_posix() not in CONTRACT
        for module, name in imports(path)
        if module in PACKAGES and not (ROOT.parent.joinpath(*module.split(".")) / f"{name}.py").exists()
    }
    assert not by_package


def test_a_registered_version_finds_the_names_that_its_own_file_imports() -> None:
    assert {name: module for module, name in imports(ROOT / "tracking/registry/pyfunc.py")} == {
        "DataError": "protoquant.core.errors",
        "Runtime": "protoquant.core.runtime",
        "ImageLike": "protoquant.model",
        "Model": "protoquant.model",
    }
