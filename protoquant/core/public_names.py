"""Public names of a package, imported on first use (PEP 562), so that the package alone loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(package: str, **names: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__``.

    The package repeats its names as imports under ``TYPE_CHECKING``, for type checkers and editors. Modules of this
    project import from the module that defines a name, so that the imports of a step can be read from its source.

    Args:
        package: ``__name__`` of the package.
        names: Maps each public name to the module of the package that defines it.
    """

    def resolve(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{names[name]}"), name)

    return resolve, lambda: sorted(names), sorted(names)
