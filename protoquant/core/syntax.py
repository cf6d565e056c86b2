"""A digest of Python source that stays the same when comments, docstrings or layout change."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from typing import Any

_SILENT = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
"""Fields without effect, or absent from Python 3.11: the digest must be the same on each version of Python."""
_RELEASE = "__version__"
"""Name of the variable with the release; no result depends on it."""


def syntax_digest(source: str) -> str:
    """Digest the syntax tree of a module.

    Comments, layout, docstrings (all statements that are only a string) and assignments to ``__version__`` are left
    out.

    Args:
        source: Text of the module.

    Returns:
        SHA-256 as hexadecimal, the same on Python 3.11 to 3.13.

    Raises:
        SyntaxError: The text is not valid Python.
    """
    return hashlib.sha256(_text(ast.parse(source)).encode()).hexdigest()


def _text(value: Any) -> str:
    """Write a tree in a form of our own, since that of ``ast.dump`` differs between versions of Python."""
    if isinstance(value, ast.Constant):
        return f"{type(value.value).__name__}:{value.value!r}"
    if isinstance(value, ast.JoinedStr):  # Python 3.12 adds empty strings to f-strings
        parts = [part for part in value.values if not (isinstance(part, ast.Constant) and part.value == "")]
        return f"JoinedStr({_text(parts)})"
    if isinstance(value, ast.AST):
        known = []
        for name in _known(value._fields):
            field = getattr(value, name, None)
            if field is not None and field != []:
                known.append(f"{name}={_text(field)}")
        return f"{type(value).__name__}({','.join(known)})"
    if isinstance(value, list):
        return f"[{','.join([_text(item) for item in value if not _decides_nothing(item)])}]"
    return repr(value)


@cache
def _known(names: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name not in _SILENT)


def _decides_nothing(item: Any) -> bool:
    if isinstance(item, ast.Expr):
        return isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
    if isinstance(item, ast.Assign):
        return isinstance(item.targets[0], ast.Name) and item.targets[0].id == _RELEASE
    return False
