"""The user on whose behalf something is written to MLflow, and the command that writes it."""

from __future__ import annotations

import getpass


def who() -> str:
    """The name of the user on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def source_tags(command: str) -> dict[str, str]:
    """Tags of a new run from which MLflow fills its columns Source and Created by; they name no path.

    Args:
        command: The command that writes the run, such as ``protoquant register``.
    """
    return {"mlflow.source.name": command, "mlflow.source.type": "LOCAL", "mlflow.user": who()}
