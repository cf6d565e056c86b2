"""Find the model of a workspace in the registry, with links to its pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protoquant.core.artifacts import artifact_digest
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.address import database_file, report_page, run_page, tracking_uri, version_page
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.registry.registry import find_version


@dataclass(frozen=True)
class Registered:
    """A version in the registry and the run that it came from.

    Attributes:
        name: Name of the registered model.
        version: Its version.
        aliases: The aliases that point to it.
        run_id: Its run.
        experiment_id: The run's experiment.
        run_url: The run's page; this and the two below are None where the store has no pages.
        version_url: The version's page.
        report_url: The report among the run's files.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    experiment_id: str
    run_url: str | None
    version_url: str | None
    report_url: str | None


def find_registered(config: RegisterConfig, *, workspace: Workspace, bundle: Path | None = None) -> Registered | None:
    """Find the version that holds the bundle of a workspace; None where there is none.

    Args:
        config: Name of the registered model.
        workspace: Its own store is used where ``MLFLOW_TRACKING_URI`` is unset.
        bundle: The bundle; None for the workspace's own.

    Raises:
        ArtifactError: There is no bundle.
        TrackingUnavailableError: MLflow does not answer.
    """
    digest = artifact_digest(bundle or workspace.bundle)
    uri = tracking_uri(workspace)
    database = database_file(uri)
    if database and not database.is_file():
        return None
    with open_store(workspace, create=False) as store:
        version = find_version(store.client, config.name, digest)
        if version is None:
            return None
        aliases = store.client.get_registered_model(config.name).aliases
        run = store.client.get_run(version.run_id)
    number, run_id, experiment = int(version.version), str(version.run_id), str(run.info.experiment_id)
    return Registered(
        name=config.name,
        version=number,
        aliases=tuple(sorted(alias for alias, held in aliases.items() if int(held) == number)),
        run_id=run_id,
        experiment_id=experiment,
        run_url=run_page(uri, experiment, run_id),
        version_url=version_page(uri, config.name, number),
        report_url=report_page(uri, experiment, run_id),
    )
