"""Find or create the experiment of the runs, of the kind that trains models."""

from __future__ import annotations

import os
from itertools import chain, count

from protoquant.core.errors import ProtoQuantError
from protoquant.tracking.connection.mlflow_api import Experiment, MlflowClient, MlflowException
from protoquant.tracking.connection.store import ALREADY, Store

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The tag by which MLflow tells an experiment that trains models from one that traces agents."""


def experiment_id(store: Store, name: str) -> str:
    """Find or create the experiment that holds the runs.

    MLflow's own variables take precedence. If the workspace was copied or moved, an experiment of that name in a
    database file may point to the artifacts of another folder; the next free ``NAME-2``, ``NAME-3``, ... is used then.
    An experiment that has no kind becomes one that trains models.

    Args:
        store: An open store.
        name: Name of the experiment.
    """
    if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return _of_kind(store.client, store.client.get_experiment(named))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    location = store.artifacts.as_uri() if store.artifacts else None
    for candidate in chain([name], (f"{name}-{number}" for number in count(2))):
        found = store.client.get_experiment_by_name(candidate)
        if found is None:
            return _make_experiment(store.client, candidate, location)
        if found.lifecycle_stage == "deleted":
            message = (
                f"the MLflow experiment {candidate!r} is deleted in {store.place}; "
                f"restore it (mlflow experiments restore -x {found.experiment_id}) or change register.name"
            )
            raise ProtoQuantError(message)
        if location is None or found.artifact_location == location or _is_remote(found.artifact_location):
            break
    return _of_kind(store.client, found)


def _of_kind(client: MlflowClient, experiment: Experiment) -> str:
    """The id of an experiment, which gets a kind if its owner has given it none."""
    for name, value in KIND.items():
        if name not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return str(experiment.experiment_id)


def _make_experiment(client: MlflowClient, name: str, location: str | None) -> str:
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
    except MlflowException as error:
        # Another process created it first, or the response to the first try was lost.
        if error.error_code not in ALREADY or not (found := client.get_experiment_by_name(name)):
            raise
        return str(found.experiment_id)


def _is_remote(location: str) -> bool:
    return "://" in location and not location.startswith("file:")
