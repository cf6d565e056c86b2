"""Whole configurations: presets/NAME.yaml, written into params.yaml so that what DVC tracks is always explicit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from protoquant.core.errors import UsageError, suggest
from protoquant.settings.params_file import read_text, rewrite
from protoquant.settings.settings import Settings, read_params


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
        return cls(name, read_text(path), values)

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
        return rewrite(params, wanted, self.text)


def preset_names(folder: Path) -> list[str]:
    """The presets of a project, in the order of the alphabet.

    Raises:
        UsageError: There is none.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise UsageError(f"no {folder.name}/NAME.yaml in {folder.parent.resolve()}; run from the project's folder")
    return names
