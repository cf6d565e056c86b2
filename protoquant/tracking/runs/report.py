"""Download the report that an MLflow run holds."""

from __future__ import annotations

from pathlib import Path

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.mlflow_api import MlflowException, mlflow
from protoquant.tracking.connection.outage import unanswered
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.source import read_version

REPORT = "report"


def fetch_report(name: str, *, workspace: Workspace, into: Path) -> Path:
    """Download the report of a run, or of the run behind a registered model.

    Args:
        name: A run id, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        workspace: Its own store is used where ``MLFLOW_TRACKING_URI`` is unset.
        into: Folder for the download.

    Returns:
        The folder of the report.

    Raises:
        UsageError: There is no such run or model, or the run holds no report.
        ProtoQuantError: There is no store, or it cannot be reached.
    """
    with open_store(workspace, create=False) as store:
        run = _run_of(store, name)
        root = f"runs:/{run}/{REPORT}"
        if not mlflow.artifacts.list_artifacts(artifact_uri=root):
            raise UsageError(f"the run {run} holds no {REPORT} in {store.place}; run visualize and register first")
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=root, dst_path=str(into)))


def _run_of(store: Store, name: str) -> str:
    named = read_version(name)
    try:
        if named is None:
            return str(store.client.get_run(name).info.run_id)
        if named.alias is not None:
            return str(store.client.get_model_version_by_alias(named.name, named.alias).run_id)
        return str(store.client.get_model_version(named.name, str(named.number)).run_id)
    except MlflowException as error:
        if unanswered(error):
            raise
        kind = "run" if named is None else "model"
        raise UsageError(
            f"no {kind} {name!r} in {store.place}; name a folder, a run id or models:/NAME@ALIAS"
        ) from error
