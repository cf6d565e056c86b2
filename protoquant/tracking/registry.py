"""Registered models: find the version of a bundle, make one, and fetch the bundle behind an MLflow URI."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from protoquant.core.artifacts import MANIFEST
from protoquant.core.errors import UsageError, suggest
from protoquant.core.workspace import Workspace
from protoquant.tracking.flavor import MODEL
from protoquant.tracking.mlflow_api import FileInfo, MlflowClient, MlflowException, ModelVersion, mlflow
from protoquant.tracking.outage import outage
from protoquant.tracking.store import ALREADY, Store, open_store

LOCK_TAG = "promotion_lock"
"""Tag of the registered models that are no models but locks of promotions."""
_ARTIFACTS = "artifacts"
_BUNDLE = "artifacts/bundle"
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model"
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_RUN_URI = re.compile(r"runs:/(?P<run>[^/]+)(/(?P<model>[^/]+))?/?")


@dataclass(frozen=True)
class Fetched:
    """What an MLflow URI leads to.

    Attributes:
        bundle: Folder of the bundle.
        weights: File of backbone weights where the model carries its own, else None.
    """

    bundle: Path
    weights: Path | None


def find_version(client: MlflowClient, name: str, bundle_digest: str) -> ModelVersion | None:
    """Find the newest version that holds a bundle and whose files are still there.

    Args:
        client: An open client.
        name: Name of the registered model.
        bundle_digest: Digest of the bundle.
    """
    query = f"name = '{name}' and tags.bundle_digest = '{bundle_digest}'"
    versions = sorted(client.search_model_versions(query), key=lambda version: -int(version.version))
    whole = next((version for version in versions if holds_bundle(f"models:/{name}/{version.version}")), None)
    return _first_twin(client, whole, versions) if whole else None


def holds_bundle(root: str) -> bool:
    """Tell whether the files of a model are where MLflow believes them to be.

    Args:
        root: ``models:/NAME/VERSION``, or the location of a logged model.
    """
    try:
        files = _listed(f"{root}/{_BUNDLE}")
    except (MlflowException, OSError) as error:
        if outage(error):
            raise
        return False
    return any(Path(file.path).name == MANIFEST for file in files)


def create_version(
    client: MlflowClient, name: str, *, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> ModelVersion:
    """Register a logged model; version, tags and description come into being in one step.

    Args:
        client: An open client.
        name: Name of the registered model; made if it is new.
        model_id: The logged model.
        run_id: Its run.
        tags: Tags of the version, among them ``bundle_digest``.
        description: A sentence for people.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ALREADY:
            raise
    source = f"models:/{model_id}"
    made = client.create_model_version(
        name, source, run_id=run_id, tags=dict(tags), description=description, model_id=model_id
    )
    query = f"name = '{name}' and tags.bundle_digest = '{tags['bundle_digest']}'"
    return _first_twin(client, made, list(client.search_model_versions(query)))


def _first_twin(client: MlflowClient, version: ModelVersion, others: Iterable[ModelVersion]) -> ModelVersion:
    """Of the versions of one logged model, keep the first.

    There are more than one only where the answer to a request was lost and MLflow's client asked again.
    """
    twins = [other for other in others if other.source == version.source]
    first, *rest = sorted(twins, key=lambda twin: int(twin.version))
    for twin in rest:
        client.delete_model_version(twin.name, twin.version)
    return first


def point_alias(client: MlflowClient, name: str, alias: str, version: int, *, at: datetime | None = None) -> bool:
    """Let an alias point to a version, unless it was pointed to its version later than this one was to have it.

    The version keeps as a tag since when the alias points to it.

    Args:
        client: An open client.
        name: Name of the registered model.
        alias: The alias.
        version: The version.
        at: When the version was to have the alias, where that is past; None for now.

    Returns:
        Whether the alias was moved.
    """
    held = client.get_registered_model(name).aliases.get(alias)
    if held is not None and (int(held) == version or (at and _since(client, name, alias, held) > at)):
        return False
    client.set_registered_model_alias(name, alias, str(version))
    since = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
    client.set_model_version_tag(name, str(version), f"{alias}_since", since)
    return True


def _since(client: MlflowClient, name: str, alias: str, held: str) -> datetime:
    """Since when an alias points to the version that has it; its making where nothing says so."""
    version = client.get_model_version(name, held)
    if said := version.tags.get(f"{alias}_since"):
        return datetime.fromisoformat(said)
    return datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)


def fetch_bundle(uri: str, *, workspace: Workspace, into: Path | None = None) -> Fetched:
    """Get the bundle behind an MLflow URI.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/model``.
        workspace: Its own store is asked where ``MLFLOW_TRACKING_URI`` is unset.
        into: Folder for what has to be downloaded; without it, one that lasts as long as the process.

    Raises:
        UsageError: The URI is malformed, or names nothing; the text names what there is.
        ProtoQuantError: There is no store, or it cannot be reached.
    """
    with open_store(workspace, create=False) as store:
        return fetch_from(store, uri, into=into)


def fetch_from(store: Store, uri: str, *, into: Path | None = None) -> Fetched:
    """The same from a store that is open."""
    root = _resolved(store, uri)
    if not holds_bundle(root):
        message = f"{uri} holds no ProtoQuant bundle, or its files are gone from the store at {store.place}"
        raise UsageError(message)
    folder = into or _folder_of_process()
    bundle = _download(f"{root}/{_BUNDLE}", folder)
    others = [file.path for file in _listed(f"{root}/{_ARTIFACTS}") if Path(file.path).name != "bundle"]
    weights = _download(f"{root}/{_ARTIFACTS}/{Path(others[0]).name}", folder) if others else None
    return Fetched(bundle, weights)


def resolve(uri: str, *, workspace: Workspace) -> str:
    """Say where an MLflow URI leads now: ``models:/NAME/VERSION``, or the location of a run's model.

    Args:
        uri: As for :func:`fetch_bundle`.
        workspace: Likewise.

    Raises:
        UsageError: The URI is malformed, or names nothing. ProtoQuantError: There is no store, or it is away.
    """
    with open_store(workspace, create=False) as store:
        return _resolved(store, uri)


def model_names(store: Store) -> list[str]:
    """The registered models, in order, without the locks of promotions."""
    found: list[str] = []
    token = None
    while True:
        page = store.client.search_registered_models(page_token=token)
        found += [str(model.name) for model in page if LOCK_TAG not in model.tags]
        token = page.token
        if not token:
            return sorted(found)


def find_named(store: Store, name: str, *, alias: str | None = None, version: int | None = None) -> ModelVersion:
    """Find a version by its name and its number or alias.

    Args:
        store: An open store.
        name: Name of the registered model.
        alias: An alias; with it ``version`` is not looked at.
        version: The number.

    Raises:
        UsageError: There is none; the text names what there is.
    """
    try:
        if alias is not None:
            return store.client.get_model_version_by_alias(name, alias)
        return store.client.get_model_version(name, str(version))
    except MlflowException as error:
        if outage(error):
            raise
    versions = {int(each.version): each for each in versions_of(store, name)}
    number = version if alias is None else _aliased(store, name, alias)
    if number not in versions:
        known = ", ".join(map(str, versions)) or "none"
        message = f"the model {name!r} has no version {number} in {store.place}; versions: {known}"
        raise UsageError(message)
    return versions[number]


def versions_of(store: Store, name: str) -> list[ModelVersion]:
    """The versions of a registered model, the first one first.

    Raises:
        UsageError: There is no such model; the text names those there are.
    """
    models = model_names(store)
    if name not in models:
        known = ", ".join(models) or "none"
        message = f"no registered model {name!r} in {store.place}{suggest(name, models)}; registered: {known}"
        raise UsageError(message)
    found = store.client.search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def _listed(uri: str) -> list[FileInfo]:
    files: list[FileInfo] = mlflow.artifacts.list_artifacts(artifact_uri=uri)
    return files


def _download(uri: str, into: Path) -> Path:
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into)))


def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="protoquant-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _resolved(store: Store, uri: str) -> str:
    """Turn a URI into the root of the model's files and check that the named thing exists."""
    if match := _MODEL_URI.fullmatch(uri):
        number = int(match["version"]) if match["version"] else None
        version = find_named(store, match["name"], alias=match["alias"], version=number)
        return f"models:/{version.name}/{version.version}"
    if match := _RUN_URI.fullmatch(uri):
        return _model_of_run(store, match["run"], match["model"] or MODEL)
    message = f"expected {_FORMS}, got {uri!r}"
    raise UsageError(message)


def _aliased(store: Store, name: str, alias: str) -> int:
    aliases = store.client.get_registered_model(name).aliases
    if alias not in aliases:
        known = ", ".join(f"{each} (version {number})" for each, number in sorted(aliases.items())) or "none"
        message = (
            f"the model {name!r} has no alias {alias!r} in {store.place}{suggest(alias, aliases)}; aliases: {known}"
        )
        raise UsageError(message)
    return int(aliases[alias])


def _model_of_run(store: Store, run_id: str, name: str) -> str:
    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        message = f"no run {run_id!r} in {store.place}; the run's page in MLflow shows its id"
        raise UsageError(message) from error
    outputs = run.outputs.model_outputs if run.outputs else []
    logged = [store.client.get_logged_model(output.model_id) for output in outputs]
    named = [str(model.artifact_location) for model in logged if model.name == name]
    if not named:
        known = ", ".join(sorted({model.name for model in logged})) or "none"
        message = f"the run {run_id} has no model {name!r} in {store.place}; models: {known}"
        raise UsageError(message)
    return named[-1]
