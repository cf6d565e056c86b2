"""Fetch the bundle behind an MLflow URI and check it against the digest under which it was registered."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from pathlib import Path

from protoquant.core.workspace import Workspace
from protoquant.tracking.registry.source import DIGEST_TAG, Fetched
from protoquant.tracking.registry.sqlite_fetch import fetch_from_file

_log = logging.getLogger(__name__)


def fetch_bundle(uri: str, *, workspace: Workspace, into: Path | None = None) -> Fetched:
    """Get the bundle behind an MLflow URI; log a warning if no tag says which bundle was registered.

    A store on this machine is read without MLflow, unless that fails.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/model``.
        workspace: Its own store is used where ``MLFLOW_TRACKING_URI`` is unset.
        into: Folder for the downloads; None for a temporary folder that lasts as long as the process.

    Raises:
        UsageError: The URI is malformed, or names nothing; the text lists what exists.
        ArtifactError: The bundle is not the one that was registered.
        ProtoQuantError: There is no store, or it cannot be reached.
    """
    folder = into or _folder_of_process()
    fetched = fetch_from_file(uri, workspace=workspace, into=folder)
    if fetched is None:
        from protoquant.tracking.connection.store import open_store
        from protoquant.tracking.registry.mlflow_fetch import fetch_from

        with open_store(workspace, create=False) as store:
            fetched = fetch_from(store, uri, into=folder)
    if fetched.tag is None:
        _log.warning("%s has no tag %s: whether its bundle was replaced cannot be told", uri, DIGEST_TAG)
    return fetched


def resolve(uri: str, *, workspace: Workspace) -> str:
    """Resolve an MLflow URI to what it names now: ``models:/NAME/VERSION``, or the location of a run's model.

    Args:
        uri: As for :func:`fetch_bundle`.
        workspace: As for :func:`fetch_bundle`.

    Raises:
        UsageError: The URI is malformed, or names nothing.
        ProtoQuantError: There is no store, or it cannot be reached.
    """
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.registry.mlflow_fetch import find

    with open_store(workspace, create=False) as store:
        return find(store, uri).root


def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="protoquant-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
