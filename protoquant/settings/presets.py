"""Presets, parts of a configuration in presets/, written into params.yaml so that DVC always tracks explicit values.

presets/NAME.yaml says how prototypes and head are learned, presets/data/NAME.yaml which images, and
presets/backbones/NAME.yaml which backbone. They hold different sections, so that one of each makes a recipe.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from protoquant.core.errors import UsageError, suggest
from protoquant.settings.params_file import as_yaml, read_text, rewrite
from protoquant.settings.settings import Settings, read_params

KINDS = {"preset": "", "data": "data", "backbone": "backbones"}
"""Folder of each kind of preset, below presets/."""


@dataclass(frozen=True)
class Preset:
    """Some sections of params.yaml, each of them complete.

    Attributes:
        name: Name of the file, without its suffix.
        summary: The first line of the file, a comment.
        text: The sections as YAML, with the comments of the file if it spells out every key.
        values: The sections as plain values; a key that the file does not name has its default.
    """

    name: str
    summary: str
    text: str
    values: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, name: str, kind: str = "preset") -> Self:
        """Read a preset.

        Args:
            folder: The folder of the presets.
            name: One of :func:`preset_names`.
            kind: A key of ``KINDS``.

        Raises:
            UsageError: There is no preset of this name. ConfigError: It holds an unknown key or an impossible value.
        """
        known = preset_names(folder, kind)
        if name not in known:
            raise UsageError(f"no {kind} {name!r} among {', '.join(known)}{suggest(name, known)}")
        path = folder / KINDS[kind] / f"{name}.yaml"
        given, text = read_params(path), read_text(path)
        settings = Settings.parse(given, source=path.relative_to(folder.parent).as_posix())
        whole = settings.model_dump(mode="json", by_alias=True)
        values = {section: whole[section] for section in given}
        summary = text.partition("\n")[0].lstrip("# ").rstrip()
        return cls(name, summary, text if values == given else as_yaml(values), values)


def apply(presets: Iterable[Preset], params: Path) -> bool:
    """Write the sections of presets into params.yaml; everything else stays, to the last character.

    Args:
        presets: Presets of which no two hold the same section.
        params: The file, replaced atomically.

    Returns:
        Whether anything changed.

    Raises:
        ConfigError: The file is missing or not YAML, a section that stays is not valid or does not go with a new one,
            or the file is written in a way that cannot be edited in place; it is unchanged.
    """
    presets, before = list(presets), read_params(params)
    values = {section: held for preset in presets for section, held in preset.values.items()}
    wanted = {**before, **values} if isinstance(before, dict) else before
    Settings.parse(wanted, source=params.name)
    return rewrite(params, wanted, "\n".join(preset.text for preset in presets))


def preset_names(folder: Path, kind: str = "preset") -> list[str]:
    """The names of a project's presets of a kind, in alphabetical order.

    Raises:
        UsageError: There are no presets.
    """
    names = sorted(path.stem for path in (folder / KINDS[kind]).glob("*.yaml"))
    if not names:
        place = Path(folder.name, KINDS[kind], "NAME.yaml").as_posix()
        raise UsageError(f"no {place} in {folder.parent.resolve()}; run from the project's folder")
    return names
