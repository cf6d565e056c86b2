"""Files that params.yaml may name as inputs of the pipeline: dvc.yaml cannot name a path that may be empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from protoquant.core.artifacts import digest_file
from protoquant.core.errors import UsageError

KEYS = {"prepare": ("exclude",), "extract": ("weights_file",)}
"""Keys that may name a file, by their section, which is called like the stage that reads it."""


def file_digests(params: object, root: Path) -> dict[str, dict[str, str]]:
    """Digest of each file that params.yaml names, by stage and key; nothing for a file that is not there.

    Values are not validated here. That a file is missing is said by the stage that reads it.

    Args:
        params: All of params.yaml.
        root: Folder of params.yaml, where relative paths start.

    Raises:
        UsageError: A file cannot be read.
    """
    sections = params if isinstance(params, Mapping) else {}
    found: dict[str, dict[str, str]] = {stage: {} for stage in KEYS}
    for stage, keys in KEYS.items():
        section = sections.get(stage)
        for key in keys:
            name = section.get(key) if isinstance(section, Mapping) else None
            if isinstance(name, str) and name and (digest := _digest(f"{stage}.{key}", name, root)):
                found[stage][f"{stage}.{key}"] = digest
    return found


def _digest(key: str, name: str, root: Path) -> str | None:
    try:
        path = root / name
        return digest_file(path) if path.is_file() else None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{key}: {name[:80]!r} cannot be read ({reason}); give a file that you may read") from error
