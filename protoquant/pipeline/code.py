"""Writes code as an input of the pipeline: for each stage, a file that lists everything its step imports.

DVC compares these files, not the sources. A changed comment therefore reruns nothing, a changed constant reruns the
stages that reach it, and the sources may lie anywhere. Imports are read without importing the modules.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

from protoquant.core.artifacts import digest_file, read_json, write_json
from protoquant.core.errors import ArtifactError, ProtoQuantError, UsageError
from protoquant.core.events import MessageEvent, OnEvent, ignore
from protoquant.core.packages import package_versions
from protoquant.core.syntax import syntax_digest

if TYPE_CHECKING:
    from grimp import ImportGraph

STEPS = {
    "prepare": ("protoquant.data.prepare",),
    "extract": ("protoquant.features.extract",),
    "quantize": ("protoquant.codebook.quantize",),
    "train": ("protoquant.head.train", "protoquant.prune.apply"),
    "evaluate": ("protoquant.evaluation.evaluate",),
    "visualize": ("protoquant.explain.visualize",),
}
"""Modules of each stage's step and of functions passed to it; ``register`` always runs, whatever its code."""
REGISTRIES = {
    "protoquant.data.readers.registry": "protoquant.data.readers",
    "protoquant.evaluation.groups.registry": "protoquant.evaluation.groups",
}
"""Modules that import others by name, without an import statement, each with the package of those others."""
HARMLESS = {
    "filelock", "jaxtyping", "psutil", "pydantic", "pydantic_core", "pydantic_settings", "ray", "ruamel",
}  # fmt: skip
"""Packages that lock, check, parse settings or distribute work: no byte of an artifact depends on their version."""
SHIPPED = (".css", ".html", ".js", ".json")
"""Suffixes of the files beside modules that a wheel includes; other files belong to the user."""
_DISTRIBUTIONS = {"PIL": "pillow"}
"""Distributions not named like their import; searching all installed distributions takes most of a second."""
_NAMED = 3


@dataclass(frozen=True)
class StageCode:
    """Everything that can change what a step does.

    Attributes:
        modules: Syntax digest of each imported module; imports inside functions count too.
        files: Digest of each file beside such a module, such as a template, by its path in the package.
            Files that params.yaml names, such as one of backbone weights, stand here too.
        packages: Version of each imported third-party package, except those in `HARMLESS`.
    """

    modules: Mapping[str, str]
    files: Mapping[str, str]
    packages: Mapping[str, str]


def write_code(out: Path, on_event: OnEvent = ignore, named: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Write ``STAGE.json`` for each stage whose file is missing or out of date.

    Args:
        out: The folder; it gets a ``.gitignore``, since its content follows from the code.
        on_event: Receives one message that names the changed modules and the stages that use them.
        named: Digests of files that params.yaml names, by stage and key; the stage depends on them too.

    Raises:
        UsageError: The package that reads imports is not installed. ProtoQuantError: A source is not valid Python.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / ".gitignore").write_text("*\n")
    changed: dict[str, list[str]] = {}
    for stage, code in read_code().items():
        path, value = out / f"{stage}.json", asdict(code)
        value["files"] = {**value["files"], **(named or {}).get(stage, {})}
        before = _before(path)
        if before != value:
            write_json(path, value)
        for name in _differences(before, value) if before else ():
            changed.setdefault(name, []).append(stage)
    on_event(MessageEvent(_sentence(changed)))


def read_code(steps: Mapping[str, Sequence[str]] = STEPS) -> dict[str, StageCode]:
    """Read what each step imports.

    Args:
        steps: Modules of each step by its stage.

    Raises:
        UsageError: The package that reads imports is not installed. ProtoQuantError: A source is not valid Python.
    """
    root, graph = _root(), _graph()
    ours = {module for module in graph.modules if module.partition(".")[0] == root.name}
    closures = {stage: _closure(graph, step) for stage, step in steps.items()}
    modules = {stage: closure & ours for stage, closure in closures.items()}
    paths = {module: _file(root, module) for module in set().union(*modules.values())}
    digests = {module: syntax_digest(path.read_text(encoding="utf-8")) for module, path in paths.items()}
    beside = {folder: _inputs(folder) for folder in {path.parent for path in paths.values()}}
    found = {}
    for stage, closure in closures.items():
        files = [path for folder in {paths[module].parent for module in modules[stage]} for path in beside[folder]]
        found[stage] = StageCode(
            modules={module: digests[module] for module in sorted(modules[stage])},
            files={path.relative_to(root).as_posix(): digest_file(path) for path in sorted(files)},
            packages=_versions(closure - ours - sys.stdlib_module_names - HARMLESS),
        )
    return found


def _root() -> Path:
    """Return the folder of our package, in this clone or where it is installed."""
    return Path(__file__).parents[1]


def _graph() -> ImportGraph:
    try:
        import grimp
        from grimp.exceptions import SourceSyntaxError
    except ModuleNotFoundError as error:
        raise UsageError("protoquant code needs grimp: pip install 'protoquant[pipeline]'") from error
    try:
        return grimp.build_graph(
            _root().name, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
        )
    except SourceSyntaxError as error:
        raise ProtoQuantError(
            f"{error.filename}, line {error.lineno} is no Python: {(error.text or '').strip()}; correct it"
        ) from error


def _closure(graph: ImportGraph, step: Sequence[str]) -> set[str]:
    """Return a step's modules, everything they import, and the enclosing packages, whose ``__init__`` runs too."""
    found: set[str] = set()
    new = set(step)
    while new:
        found |= new
        reached: set[str] = set()
        for module in new & graph.modules:
            reached |= graph.find_modules_directly_imported_by(module) | _packages(module)
            reached |= graph.find_children(REGISTRIES[module]) if module in REGISTRIES else set()
        new = reached - found
    return found | {_root().name}  # its own imports serve protoquant.load, which no step calls


def _packages(module: str) -> set[str]:
    """Return the packages that enclose a module, except the outermost."""
    names = module.split(".")
    return {".".join(names[:length]) for length in range(2, len(names))}


def _file(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _inputs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.suffix in SHIPPED]


def _versions(imported: set[str]) -> dict[str, str]:
    """Return versions by distribution; ``absent`` for a package that is not installed."""
    names = {_DISTRIBUTIONS.get(name, name) for name in imported}
    found = package_versions(names)
    if unknown := names - found.keys():
        everywhere = packages_distributions()
        found |= {name: "absent" for name in unknown if name not in everywhere}
        found |= package_versions(sorted({other for name in unknown for other in everywhere.get(name, ())}))
    return dict(sorted(found.items()))


def _before(path: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(read_json(path))
    except (ArtifactError, ValueError):
        return {}


def _differences(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of changed, new and removed entries."""
    pairs = [(before.get(kind, {}), held) for kind, held in after.items()]
    return sorted({name for old, new in pairs for name in old.keys() | new.keys() if old.get(name) != new.get(name)})


def _sentence(changed: Mapping[str, list[str]]) -> str:
    if not changed:
        return f"code of {len(STEPS)} stages read"
    stages = [stage for stage in STEPS if any(stage in others for others in changed.values())]
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    names = [name.removeprefix("protoquant.") for name in changed]
    return f"code changed: {', '.join(names[:_NAMED])}{more}; used by {', '.join(stages)}"
