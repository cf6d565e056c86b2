"""Find and download a model through MLflow's client, from any kind of store."""

from __future__ import annotations

from pathlib import Path

from protoquant.core.errors import UsageError
from protoquant.tracking.connection.mlflow_api import MlflowException, mlflow
from protoquant.tracking.connection.outage import unanswered
from protoquant.tracking.connection.store import Store
from protoquant.tracking.registry.registry import find_named, holds_bundle, listed
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


def find(store: Store, uri: str) -> RegistryModel:
    """Find the model that a URI names.

    Args:
        store: An open store.
        uri: As for :func:`protoquant.tracking.registry.fetch.fetch_bundle`.

    Raises:
        UsageError: The URI is malformed, or names nothing; the text lists what exists.
    """
    named = read_uri(uri)
    if isinstance(named, OfRun):
        return _model_of_run(store, named)
    version = find_named(store, named.name, alias=named.alias, version=named.number)
    name = f"models:/{version.name}/{version.version}"
    return RegistryModel(name, name, version.tags.get(DIGEST_TAG) or None)


def fetch_from(store: Store, uri: str, *, into: Path) -> Fetched:
    """Get the bundle behind an MLflow URI from an open store; nothing is logged.

    Args:
        store: An open store.
        uri: As for :func:`protoquant.tracking.registry.fetch.fetch_bundle`.
        into: Folder for the downloads.

    Raises:
        UsageError: The URI is malformed, names nothing, or names a model without a bundle.
        ArtifactError: The bundle is not the one that was registered.
    """
    found = find(store, uri)
    if not holds_bundle(found.root):
        message = f"{uri} holds no ProtoQuant bundle, or its files are gone from the store at {store.place}"
        raise UsageError(message)
    bundle = _download(f"{found.root}/{BUNDLE}", into)
    check_digest(found, bundle)
    others = [file.path for file in listed(f"{found.root}/{ARTIFACTS}") if Path(file.path).name != "bundle"]
    weights = _download(f"{found.root}/{ARTIFACTS}/{Path(others[0]).name}", into) if others else None
    return Fetched(bundle, weights, found.tag)


def _download(uri: str, into: Path) -> Path:
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into)))


def _model_of_run(store: Store, named: OfRun) -> RegistryModel:
    """Find a run's last model of that name; the digest is the model's own tag, as a run may hold several models."""
    try:
        run = store.client.get_run(named.run)
    except MlflowException as error:
        if unanswered(error):
            raise
        message = f"no run {named.run!r} in {store.place}; the run's page in MLflow shows its id"
        raise UsageError(message) from error
    outputs = run.outputs.model_outputs if run.outputs else []
    logged = [store.client.get_logged_model(output.model_id) for output in outputs]
    fitting = [model for model in logged if model.name == named.model]
    if not fitting:
        known = ", ".join(sorted({model.name for model in logged})) or "none"
        message = f"the run {named.run} has no model {named.model!r} in {store.place}; models: {known}"
        raise UsageError(message)
    location = str(fitting[-1].artifact_location)
    return RegistryModel(f"runs:/{named.run}/{named.model}", location, fitting[-1].tags.get(DIGEST_TAG) or None)
