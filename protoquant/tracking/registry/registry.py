"""Registered models in MLflow: find or create the version of a bundle, move aliases, and list models and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from protoquant.core.artifacts import MANIFEST
from protoquant.core.errors import UsageError, suggest
from protoquant.tracking.connection.mlflow_api import FileInfo, MlflowClient, MlflowException, ModelVersion, mlflow
from protoquant.tracking.connection.outage import unanswered
from protoquant.tracking.connection.store import ALREADY, Store
from protoquant.tracking.registry.source import BUNDLE, MODELS

_LOGGED = f"{MODELS}m-"
LOCK_TAG = "promotion_lock"
"""Tag of the registered models that serve only as locks for promotions."""


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
    """Tell whether the bundle of a model is where MLflow expects it.

    Args:
        root: ``models:/NAME/VERSION``, or the location of a logged model.
    """
    try:
        files = listed(f"{root}/{BUNDLE}")
    except (MlflowException, OSError) as error:
        if unanswered(error):
            raise
        return False
    return any(Path(file.path).name == MANIFEST for file in files)


def create_version(
    client: MlflowClient, name: str, *, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> ModelVersion:
    """Register a logged model; version, tags and description are created in one step.

    Args:
        client: An open client.
        name: Name of the registered model; created if it is new.
        model_id: The logged model.
        run_id: Its run.
        tags: Tags of the version, among them ``bundle_digest``.
        description: Text for the version's page.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ALREADY:
            raise
    made = client.create_model_version(
        name, f"{MODELS}{model_id}", run_id=run_id, tags=dict(tags), description=description, model_id=model_id
    )
    query = f"name = '{name}' and tags.bundle_digest = '{tags['bundle_digest']}'"
    return _first_twin(client, made, list(client.search_model_versions(query)))


def model_of(version: ModelVersion) -> str | None:
    """The id of the logged model that a version was made from; None where it was registered by other means."""
    source = str(version.source)
    return source.removeprefix(MODELS) if source.startswith(_LOGGED) else None


def _first_twin(client: MlflowClient, version: ModelVersion, others: Iterable[ModelVersion]) -> ModelVersion:
    """Keep the first of the versions of one logged model, and delete the others.

    There is more than one only if the response to a request was lost and MLflow's client repeated it.
    """
    twins = [other for other in others if other.source == version.source]
    first, *rest = sorted(twins, key=lambda twin: int(twin.version))
    for twin in rest:
        client.delete_model_version(twin.name, twin.version)
    return first


def point_alias(client: MlflowClient, name: str, alias: str, version: int, *, at: datetime | None = None) -> bool:
    """Let an alias point to a version, unless it moved to its present version after ``at``.

    A tag of the version records since when the alias has pointed to it.

    Args:
        client: An open client.
        name: Name of the registered model.
        alias: The alias.
        version: The version.
        at: The past time at which the version was to get the alias; None for now.

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
    """The time since which an alias has pointed to its version; without a tag, the version's creation time."""
    version = client.get_model_version(name, held)
    if said := version.tags.get(f"{alias}_since"):
        return datetime.fromisoformat(said)
    return datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)


def model_names(store: Store) -> list[str]:
    """The names of the registered models, in order, without the locks of promotions."""
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
        alias: An alias; if given, ``version`` is ignored.
        version: The number.

    Raises:
        UsageError: There is no such version; the text lists what exists.
    """
    try:
        if alias is not None:
            return store.client.get_model_version_by_alias(name, alias)
        return store.client.get_model_version(name, str(version))
    except MlflowException as error:
        if unanswered(error):
            raise
    versions = {int(each.version): each for each in versions_of(store, name)}
    number = version if alias is None else _aliased(store, name, alias)
    if number not in versions:
        known = ", ".join(map(str, versions)) or "none"
        message = f"the model {name!r} has no version {number} in {store.place}; versions: {known}"
        raise UsageError(message)
    return versions[number]


def versions_of(store: Store, name: str) -> list[ModelVersion]:
    """The versions of a registered model, the oldest first.

    Raises:
        UsageError: There is no such model; the text lists those that exist.
    """
    models = model_names(store)
    if name not in models:
        known = ", ".join(models) or "none"
        message = f"no registered model {name!r} in {store.place}{suggest(name, models)}; registered: {known}"
        raise UsageError(message)
    found = store.client.search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def listed(uri: str) -> list[FileInfo]:
    """The files and folders directly below an artifact URI."""
    files: list[FileInfo] = mlflow.artifacts.list_artifacts(artifact_uri=uri)
    return files


def _aliased(store: Store, name: str, alias: str) -> int:
    aliases = store.client.get_registered_model(name).aliases
    if alias not in aliases:
        known = ", ".join(f"{each} (version {number})" for each, number in sorted(aliases.items())) or "none"
        message = (
            f"the model {name!r} has no alias {alias!r} in {store.place}{suggest(alias, aliases)}; aliases: {known}"
        )
        raise UsageError(message)
    return int(aliases[alias])
