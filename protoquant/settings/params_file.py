"""Edits params.yaml in place: values change, comments and order stay."""

from __future__ import annotations

import copy
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.core.errors import ConfigError
from protoquant.core.files import written_aside
from protoquant.settings.settings import Settings, read_params
from protoquant.settings.yaml_edit import splice


def override(params: Path, changes: Mapping[str, Any], *, source: str = "overrides") -> bool:
    """Set keys of params.yaml to new values, validated as the file itself is.

    Args:
        params: The file, replaced atomically.
        changes: Values by dotted key, such as ``train.temperature``.
        source: Name of the source of the changes in errors.

    Returns:
        Whether anything changed.

    Raises:
        ConfigError: A key is unknown or a value impossible, alone or beside the others; the file is unchanged.
    """
    wanted = with_changes(read_params(params), changes, source)
    Settings.parse(wanted, source=source)
    touched = {key.partition(".")[0] for key in changes}
    return rewrite(params, wanted, as_yaml({name: wanted[name] for name in wanted if name in touched}))


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Copy plain values and set some keys to new ones, without validation.

    Args:
        values: Values as in params.yaml.
        changes: Values by dotted key.
        source: Name of the source of the changes in errors.

    Raises:
        ConfigError: A key lies below a value that is not a mapping.
    """
    wanted = copy.deepcopy(dict(values))
    for key, value in changes.items():
        _set(wanted, key, value, source)
    return wanted


def rewrite(params: Path, wanted: Mapping[str, Any], sections: str) -> bool:
    """Write new top-level values into params.yaml; everything else stays, to the last character.

    Args:
        params: The file, replaced atomically.
        wanted: All values that the file must hold afterwards.
        sections: The new top-level values as YAML.

    Returns:
        Whether anything changed.

    Raises:
        ConfigError: The file is written in a way that cannot be edited in place; it is unchanged.
    """
    old = read_text(params)
    new = splice(old, sections) if read_params(params) else sections
    if not _holds(new, wanted):
        raise ConfigError(
            f"{params.name} must hold plain keys, one a line, to be edited in place, without braces and anchors; "
            f"write its sections as in presets/fast.yaml"
        )
    if new != old:
        _replace(params.resolve(), new)
    return new != old


def read_text(path: Path) -> str:
    """Read a text and keep its line endings."""
    return path.read_bytes().decode("utf-8")


def as_yaml(values: Mapping[str, Any]) -> str:
    """Write plain values as YAML, one key a line."""
    out = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 10_000
    yaml.dump(dict(values), out)
    return out.getvalue()


def _set(values: dict[str, Any], key: str, value: Any, source: str) -> None:
    *sections, name = key.split(".")
    for number, section in enumerate(sections):
        inner = values.get(section)
        if inner is None:
            inner = values[section] = {}
        elif not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(sections[: number + 1])} is a value and has no key below it ({source})")
        values = inner
    values[name] = value


def _holds(text: str, wanted: object) -> bool:
    try:
        return bool(YAML(typ="safe").load(text) == wanted)
    except YAMLError:
        return False


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically; no lock keeps two editors apart, so each writes its own temporary file."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    with written_aside(path, Path(name)) as aside:
        aside.write_bytes(text.encode("utf-8"))
        shutil.copymode(path, aside)
