"""Folders that a command writes its result to, named on the command line."""

from pathlib import Path

from protoquant.core.artifacts import MANIFEST, open_artifact
from protoquant.core.errors import ArtifactError, UsageError


def check_out(out: Path, kind: str) -> None:
    """Refuse, before any work, to replace a folder that holds anything but an older result.

    Args:
        out: What ``--out`` names.
        kind: Kind of the artifact.

    Raises:
        UsageError: ``out`` is a file, or a folder with other content.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.is_dir() and (out / MANIFEST).is_file():
        try:
            open_artifact(out, kind, verify=False)
        except ArtifactError as error:
            raise UsageError(f"--out: {error}; choose another folder") from error
        return
    if out.exists():
        what = "holds other things" if out.is_dir() else "is a file"
        raise UsageError(f"--out: {out} {what}; choose a new folder, or that of an older result")
