"""The bundle behind an MLflow URI: fetched, and held against the digest by which it was registered."""

from __future__ import annotations

import atexit
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.flavor import MODEL
from protoquant.tracking.mlflow_api import MlflowException, mlflow
from protoquant.tracking.outage import unanswered
from protoquant.tracking.registry import ARTIFACTS, BUNDLE, find_named, holds_bundle, listed
from protoquant.tracking.store import Store, open_store

DIGEST_TAG = "bundle_digest"
"""Tag of versions and logged models: the digest of the bundle that was registered."""
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model"
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_RUN_URI = re.compile(r"runs:/(?P<run>[^/]+)(/(?P<model>[^/]+))?/?")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """What an MLflow URI leads to.

    Attributes:
        bundle: Folder of the bundle.
        weights: File of backbone weights where the model carries its own, else None; the bundle names their digest.
        tag: The digest by which the bundle was registered, which it has; None where the registry does not say.
    """

    bundle: Path
    weights: Path | None
    tag: str | None


@dataclass(frozen=True)
class _Found:
    """A model in the registry: its name in sentences, the root of its files, and its tag."""

    name: str
    root: str
    tag: str | None


def fetch_bundle(uri: str, *, workspace: Workspace, into: Path | None = None) -> Fetched:
    """Get the bundle behind an MLflow URI; where no tag says which one was registered, that is logged.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/model``.
        workspace: Its own store is asked where ``MLFLOW_TRACKING_URI`` is unset.
        into: Folder for what has to be downloaded; without it, one that lasts as long as the process.

    Raises:
        UsageError: The URI is malformed, or names nothing; the text names what there is.
        ArtifactError: The bundle is not the one that was registered.
        ProtoQuantError: There is no store, or it cannot be reached.
    """
    with open_store(workspace, create=False) as store:
        fetched = fetch_from(store, uri, into=into)
    if fetched.tag is None:
        _log.warning("%s has no tag %s: whether its bundle was replaced cannot be told", uri, DIGEST_TAG)
    return fetched


def fetch_from(store: Store, uri: str, *, into: Path | None = None) -> Fetched:
    """The same from a store that is open; nothing is logged."""
    found = _resolved(store, uri)
    if not holds_bundle(found.root):
        message = f"{uri} holds no ProtoQuant bundle, or its files are gone from the store at {store.place}"
        raise UsageError(message)
    folder = into or _folder_of_process()
    bundle = _download(f"{found.root}/{BUNDLE}", folder)
    _check(found, artifact_digest(bundle))
    others = [file.path for file in listed(f"{found.root}/{ARTIFACTS}") if Path(file.path).name != "bundle"]
    weights = _download(f"{found.root}/{ARTIFACTS}/{Path(others[0]).name}", folder) if others else None
    return Fetched(bundle, weights, found.tag)


def resolve(uri: str, *, workspace: Workspace) -> str:
    """Say where an MLflow URI leads now: ``models:/NAME/VERSION``, or the location of a run's model.

    Args:
        uri: As for :func:`fetch_bundle`.
        workspace: Likewise.

    Raises:
        UsageError: The URI is malformed, or names nothing. ProtoQuantError: There is no store, or it is away.
    """
    with open_store(workspace, create=False) as store:
        return _resolved(store, uri).root


def _check(found: _Found, digest: str) -> None:
    """The digest is the manifest's; whoever opens the bundle holds every file against the manifest."""
    if found.tag not in (None, digest):
        raise ArtifactError(
            f"{found.name}: its bundle is not the one that was registered: digest {digest[:12]}, its tag {DIGEST_TAG} "
            f"says {str(found.tag)[:12]}; files or tag were changed since, perhaps by somebody who must not: "
            "restore them, or register the model again"
        )


def _download(uri: str, into: Path) -> Path:
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into)))


def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="protoquant-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _resolved(store: Store, uri: str) -> _Found:
    """Find what a URI names."""
    if match := _MODEL_URI.fullmatch(uri):
        number = int(match["version"]) if match["version"] else None
        version = find_named(store, match["name"], alias=match["alias"], version=number)
        name = f"models:/{version.name}/{version.version}"
        return _Found(name, name, version.tags.get(DIGEST_TAG) or None)
    if match := _RUN_URI.fullmatch(uri):
        return _model_of_run(store, match["run"], match["model"] or MODEL)
    message = f"expected {_FORMS}, got {uri!r}"
    raise UsageError(message)


def _model_of_run(store: Store, run_id: str, name: str) -> _Found:
    """The last model of that name; its own tag counts, since a run may hold models of others too."""
    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if unanswered(error):
            raise
        message = f"no run {run_id!r} in {store.place}; the run's page in MLflow shows its id"
        raise UsageError(message) from error
    outputs = run.outputs.model_outputs if run.outputs else []
    logged = [store.client.get_logged_model(output.model_id) for output in outputs]
    named = [model for model in logged if model.name == name]
    if not named:
        known = ", ".join(sorted({model.name for model in logged})) or "none"
        message = f"the run {run_id} has no model {name!r} in {store.place}; models: {known}"
        raise UsageError(message)
    location = str(named[-1].artifact_location)
    return _Found(f"runs:/{run_id}/{name}", location, named[-1].tags.get(DIGEST_TAG) or None)
