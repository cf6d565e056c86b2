"""Whole configurations: presets/NAME.yaml, written into params.yaml so that what DVC tracks is always explicit."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.core.errors import ConfigError, UsageError, suggest
from protoquant.settings import Settings, read_params
from protoquant.splice import splice


@dataclass(frozen=True)
class Preset:
    """Some sections of params.yaml, each whole.

    Attributes:
        name: Of the file, without its ending.
        text: The file, comments and all.
        values: Its sections as plain values.
    """

    name: str
    text: str
    values: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Read a preset.

        Args:
            folder: Where presets lie.
            name: One of :func:`preset_names`.

        Raises:
            UsageError: There is none of this name. ConfigError: It holds an unknown key or an impossible value.
        """
        known = preset_names(folder)
        if name not in known:
            raise UsageError(f"no preset {name!r} among {', '.join(known)}{suggest(name, known)}")
        path = folder / f"{name}.yaml"
        values = read_params(path)
        Settings.parse(values, source=f"{folder.name}/{path.name}")
        return cls(name, _read(path), values)

    @property
    def summary(self) -> str:
        """What its first line of comment says."""
        return self.text.partition("\n")[0].lstrip("# ").rstrip()

    def apply(self, params: Path) -> bool:
        """Write the preset's sections into params.yaml; all else in it stays, to the last character.

        Args:
            params: The file, replaced at once and whole.

        Returns:
            Whether anything changed.

        Raises:
            ConfigError: The file is missing or no YAML, a section that stays is not valid, or the file is written in
                a way that cannot be edited in place; it is as it was.
        """
        before = read_params(params)
        wanted = {**before, **self.values} if isinstance(before, dict) else before
        Settings.parse(wanted, source=params.name)
        old = _read(params)
        new = splice(old, self.text) if before else self.text
        if not _holds(new, wanted):
            raise ConfigError(
                f"{params.name} must hold plain keys, one a line, to be edited in place, without braces and anchors; "
                f"write its sections as in {self.name}.yaml"
            )
        if new != old:
            _replace(params.resolve(), new)
        return new != old


def preset_names(folder: Path) -> list[str]:
    """The presets of a project, in the order of the alphabet.

    Raises:
        UsageError: There is none.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise UsageError(f"no {folder.name}/NAME.yaml in {folder.parent.resolve()}; run from the project's folder")
    return names


def _read(path: Path) -> str:
    """The text with the line ends that it has."""
    return path.read_bytes().decode("utf-8")


def _holds(text: str, wanted: object) -> bool:
    try:
        return bool(YAML(typ="safe").load(text) == wanted)
    except YAMLError:
        return False


def _replace(path: Path, text: str) -> None:
    """Write aside, then rename: a reader sees the old file or the new one."""
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, aside)
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)
