"""The file of backbone weights as an input of the pipeline: dvc.yaml cannot name a path that may be empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from protoquant.core.artifacts import digest_file
from protoquant.core.errors import UsageError

KEY = "extract.weights_file"


def weights_digest(params: object, root: Path) -> dict[str, str]:
    """Digest of the file that params.yaml names, by its key; empty where it names none or the file is not there.

    Values are not validated here. That the file is missing is said by the stage that reads it.

    Args:
        params: All of params.yaml.
        root: Folder of params.yaml, where relative paths start.

    Raises:
        UsageError: The file cannot be read.
    """
    section = params.get("extract") if isinstance(params, Mapping) else None
    if not isinstance(section, Mapping) or section.get("weights") != "file":
        return {}
    name = section.get("weights_file")
    if not isinstance(name, str) or not name:
        return {}
    try:
        path = root / name
        return {KEY: digest_file(path)} if path.is_file() else {}
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{KEY}: {name[:80]!r} cannot be read ({reason}); give a file that you may read") from error
