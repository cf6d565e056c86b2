"""The step REGISTER: one MLflow run and one registered version for each trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.flavor import log_model
from protoquant.tracking.lineage import Lineage, lineage
from protoquant.tracking.measurements import headline, parameters
from protoquant.tracking.mlflow_api import MlflowClient, ModelVersion
from protoquant.tracking.registry import create_version, find_version, holds_bundle, point_alias
from protoquant.tracking.runs import choose_run, log_measurements, log_params, running
from protoquant.tracking.store import Store, experiment_id, open_store


@dataclass(frozen=True)
class RegisterResult:
    """Where the model of a workspace stands in the registry.

    Attributes:
        name: Name of the registered model.
        version: Its version, from 1.
        alias: The alias that points to that version.
        run_id: The MLflow run that the version came from.
        already: Whether the version was there before.
    """

    name: str
    version: int
    alias: str
    run_id: str
    already: bool


def register(
    config: RegisterConfig, *, workspace: Workspace, params: Mapping[str, Any], on_event: OnEvent
) -> RegisterResult:
    """Put the trained model of a workspace into MLflow: one run, one version, one alias.

    Doing it again changes nothing. A version counts as there when it holds the same bundle and its files exist; else
    the bundle is registered again. What a killed call left behind is taken up. Where the bundle was evaluated anew, the
    numbers of its run and version follow.

    Args:
        config: Name and alias.
        workspace: A workspace in which the six stages before this one have run.
        params: The whole of params.yaml.
        on_event: Told in a sentence what was done.

    Raises:
        ArtifactError: An artifact is missing or damaged, or was made for another bundle.
        ProtoQuantError: MLflow refused.
    """
    _check(workspace)
    with open_store(workspace, create=True) as store:
        found = find_version(store.client, config.name, artifact_digest(workspace.bundle))
        version = found or _new_version(store, config, workspace, params)
        if found:
            _follow_evaluation(store.client, version, workspace, on_event)
        number = int(version.version)
        moved = point_alias(store.client, config.name, config.alias, number)
        done = f"already registered as version {number}" if found else f"registered as version {number}"
        now = ", the alias is new" if found and moved else ""
        on_event(MessageEvent(headline(workspace).sentence()))
        on_event(MessageEvent(f"report: {workspace.report / 'index.html'}"))
        on_event(MessageEvent(f"{config.name}@{config.alias}: {done}{now}"))
        return RegisterResult(config.name, number, config.alias, str(version.run_id), already=found is not None)


def _check(workspace: Workspace) -> None:
    """The bundle must be whole, and numbers and report must be those of this bundle, made from one set of artifacts."""
    open_artifact(workspace.bundle, "bundle")
    there = {
        "images": artifact_digest(workspace.images),
        "codebook": artifact_digest(workspace.codebook),
        "bundle": artifact_digest(workspace.bundle),
        "evaluation": artifact_digest(workspace.evaluation),
    }
    for path, kind in (
        (workspace.bundle, "bundle"),
        (workspace.evaluation, "evaluation"),
        (workspace.report, "report"),
    ):
        inputs = open_artifact(path, kind, verify=False).inputs
        if others := [name for name, digest in there.items() if inputs.get(name, digest) != digest]:
            message = f"{path} was made from another {' and another '.join(others)}; run the pipeline (dvc repro)"
            raise ArtifactError(message)


def _new_version(store: Store, config: RegisterConfig, workspace: Workspace, params: Mapping[str, Any]) -> ModelVersion:
    from protoquant.head.bundle import Bundle

    client = store.client
    weights = Bundle.open(workspace.bundle).backbone.weights
    origin = lineage(workspace, weight_digest=weights.digest)
    numbers = headline(workspace)
    tags = origin.tags() | numbers.tags()
    flat = parameters(params)
    experiment = experiment_id(store, config.name)
    run_id = choose_run(client, experiment, origin=origin, params=flat)
    with running(client, run_id):
        log_params(client, run_id, flat)
        log_measurements(client, run_id, workspace=workspace, origin=origin)
        model_id = _logged_model(client, run_id, origin) or log_model(
            run_id,
            bundle=workspace.bundle,
            weights=_weights_file(workspace, weights.file),
            tags=tags,
        )
        return create_version(
            client, config.name, model_id=model_id, run_id=run_id, tags=tags, description=numbers.sentence()
        )


def _weights_file(workspace: Workspace, file: str | None) -> Path | None:
    if file is None:
        return None
    path = workspace.root / file
    if not path.is_file():
        message = f"the model's weights go into the registry, but {path} is missing; put the file back"
        raise ArtifactError(message)
    return path


def _logged_model(client: MlflowClient, run_id: str, origin: Lineage) -> str | None:
    """The whole model that an earlier call logged under the run; what it left unfinished is deleted."""
    experiment = client.get_run(run_id).info.experiment_id
    query = f"tags.bundle_digest = '{origin.bundle_digest}'"
    whole = None
    for model in client.search_logged_models([experiment], query):
        if model.source_run_id != run_id:
            continue
        if str(model.status) == "READY" and holds_bundle(model.artifact_location):
            whole = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def _follow_evaluation(client: MlflowClient, version: ModelVersion, workspace: Workspace, on_event: OnEvent) -> None:
    """Bring the numbers of a version up to date where its bundle was evaluated again."""
    if version.tags.get("evaluation_digest") == artifact_digest(workspace.evaluation):
        return
    origin = lineage(workspace, weight_digest=version.tags["weight_digest"])
    numbers = headline(workspace)
    log_measurements(client, version.run_id, workspace=workspace, origin=origin)
    for name, value in (origin.tags() | numbers.tags()).items():
        client.set_model_version_tag(version.name, version.version, name, value)
    client.update_model_version(version.name, version.version, description=numbers.sentence())
    on_event(MessageEvent(f"{version.name}: version {version.version} was evaluated anew; its numbers are up to date"))
