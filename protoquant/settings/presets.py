"""Presets, configurations in presets/NAME.yaml, written into params.yaml so that DVC always tracks explicit values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from protoquant.core.errors import UsageError, suggest
from protoquant.settings.params_file import read_text, rewrite
from protoquant.settings.settings import Settings, read_params


@dataclass(frozen=True)
class Preset:
    """Some sections of params.yaml, each of them complete.

    Attributes:
        name: Name of the file, without its suffix.
        text: Text of the file, including comments.
        values: The sections as plain values.
    """

    name: str
    text: str
    values: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Read a preset.

        Args:
            folder: The folder of the presets.
            name: One of :func:`preset_names`.

        Raises:
            UsageError: There is no preset of this name. ConfigError: It holds an unknown key or an impossible value.
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
        """The text of the preset's first line, a comment."""
        return self.text.partition("\n")[0].lstrip("# ").rstrip()

    def apply(self, params: Path) -> bool:
        """Write the preset's sections into params.yaml; everything else stays, to the last character.

        Args:
            params: The file, replaced atomically.

        Returns:
            Whether anything changed.

        Raises:
            ConfigError: The file is missing or not YAML, a section that stays is not valid, or the file is written in
                a way that cannot be edited in place; it is unchanged.
        """
        before = read_params(params)
        wanted = {**before, **self.values} if isinstance(before, dict) else before
        Settings.parse(wanted, source=params.name)
        return rewrite(params, wanted, self.text)


def preset_names(folder: Path) -> list[str]:
    """The names of a project's presets, in alphabetical order.

    Raises:
        UsageError: There are no presets.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise UsageError(f"no {folder.name}/NAME.yaml in {folder.parent.resolve()}; run from the project's folder")
    return names
