"""Fetch a model directly from a database file and the folder of its files, as MLflow's client takes seconds to import.

This finds only the plain cases. All others, and their error messages, are left to MLflow's client.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

from protoquant.core.artifacts import MANIFEST
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.address import database_file, tracking_uri
from protoquant.tracking.connection.moved import FILES, place_of
from protoquant.tracking.registry.source import (
    ARTIFACTS,
    BUNDLE,
    DIGEST_TAG,
    Fetched,
    OfRun,
    RegistryModel,
    check_digest,
    read_uri,
)

_SCHEMA = "dc11669786a5"
"""Schema revision of MLflow 3.17; tables of another revision may use the same names for something else."""
_ELSEWHERE = ("MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES")
"""Variables that keep models elsewhere than in the default workspace of the database."""
_PATIENCE = 1.0
"""Seconds to wait for a process that is writing the file; most are done by then."""
_UPLOADING = ".artifact.uploading.*"
"""Files that MLflow is writing, or was writing when it was killed."""
_VERSION = """
SELECT 'models:/' || made.name || '/' || made.version, storage_location, tag.value
FROM model_versions AS made LEFT JOIN model_version_tags AS tag
ON (tag.workspace, tag.name, tag.version, tag.key) = (made.workspace, made.name, made.version, :tag)
WHERE made.workspace = 'default' AND made.name = :name AND current_stage != 'Deleted_Internal'
AND made.version = COALESCE(:number, (
    SELECT version FROM registered_model_aliases WHERE (workspace, name, alias) = ('default', :name, :alias)
))
"""
_MODELS_OF_RUN = """
SELECT 'runs:/' || run_uuid || '/' || CASE made.lifecycle_stage WHEN 'active' THEN made.name ELSE '' END,
artifact_location, tag_value
FROM runs JOIN inputs AS link ON link.source_id = run_uuid
JOIN logged_models AS made ON made.model_id = destination_id
LEFT JOIN logged_model_tags AS tag ON (tag.model_id, tag_key) = (made.model_id, :tag)
WHERE (link.source_type, destination_type, run_uuid) = ('RUN_OUTPUT', 'MODEL_OUTPUT', :run)
"""


def fetch_from_file(uri: str, *, workspace: Workspace, into: Path) -> Fetched | None:
    """Get the bundle behind an MLflow URI from the database file of a workspace.

    Args:
        uri: As for :func:`protoquant.tracking.registry.fetch.fetch_bundle`.
        workspace: Its own store is used where ``MLFLOW_TRACKING_URI`` is unset.
        into: Folder for the copy of its files.

    Returns:
        The files that MLflow's client would fetch; None where that client has to be asked.

    Raises:
        UsageError: The URI is malformed.
        ArtifactError: The bundle is not the one that was registered.
    """
    database = database_file(tracking_uri(workspace))
    if database is None or any(os.environ.get(name) for name in _ELSEWHERE):
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=_PATIENCE, uri=True)) as tables:
            found = _find(tables, uri)
        return _copied(found, database.parent / FILES, into) if found else None
    except (sqlite3.Error, OSError, OverflowError):
        return None


def _find(tables: sqlite3.Connection, uri: str) -> RegistryModel | None:
    """Find the model that a URI names, if it is the only one; only MLflow knows the order of a run's several models."""
    if tables.execute("SELECT version_num FROM alembic_version").fetchall() != [(_SCHEMA,)]:
        return None
    named = read_uri(uri)
    query = _MODELS_OF_RUN if isinstance(named, OfRun) else _VERSION
    rows = tables.execute(query, {"tag": DIGEST_TAG, **vars(named)}).fetchall()
    if len(rows) != 1 or (isinstance(named, OfRun) and rows[0][0] != f"runs:/{named.run}/{named.model}"):
        return None
    name, location, tag = rows[0]
    return RegistryModel(name, location or "", tag or None)


def _copied(found: RegistryModel, files: Path, into: Path) -> Fetched | None:
    """Copy the files that MLflow's client would download, from where they lie if the project was moved."""
    root = place_of(found.root, files)
    if root is None or not (root / BUNDLE / MANIFEST).is_file():
        return None
    shutil.copytree(root / BUNDLE, into / BUNDLE, ignore=shutil.ignore_patterns(_UPLOADING), dirs_exist_ok=True)
    check_digest(found, into / BUNDLE)
    others = sorted(each for each in (root / ARTIFACTS).iterdir() if each.name != "bundle")
    others = [each for each in others if not fnmatch(each.name, _UPLOADING)]
    weights = Path(shutil.copy(others[0], into / ARTIFACTS)) if others else None
    return Fetched(into / BUNDLE, weights, found.tag)
