"""Builds the environment of an isolated run: its own code first, absolute addresses, nothing of the caller's run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from protoquant.core.log import RECORDS

_TRACKING = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_NOT_HANDED_ON = ("DVC_ROOT", "DVC_STAGE", "MLFLOW_RUN_ID", "PYTHONHOME", "VIRTUAL_ENV")
_NOT_HANDED_ON_PREFIXES = ("GIT_", "PREFECT__", "DVC_EXP_")


def environment_of(tree: Path, clone: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the environment of a run.

    The worktree comes first on PYTHONPATH, so its code runs instead of the installed package. Runs and models go to the
    clone's store, by absolute address.

    Args:
        tree: Root of the worktree.
        clone: The clone it comes from.
        given: Variables to start from; by default the environment of this process.
    """
    start = os.environ if given is None else given
    kept = {
        name: value
        for name, value in start.items()
        if name not in _NOT_HANDED_ON and not name.startswith(_NOT_HANDED_ON_PREFIXES)
    }
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tree), kept.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        RECORDS: "1",
        "DVC_NO_ANALYTICS": kept.get("DVC_NO_ANALYTICS", "1"),
        _TRACKING: _absolute(kept.get(_TRACKING, ""), clone),
    }
    return kept | own


def _absolute(uri: str, clone: Path) -> str:
    """Return an absolute address: by default the clone's own store; a relative database file starts at the clone."""
    if not uri:
        return f"{_SQLITE}{clone.resolve() / 'mlflow.db'}"
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}/"):
        return f"{_SQLITE}{clone.resolve() / uri.removeprefix(_SQLITE)}"
    return uri
