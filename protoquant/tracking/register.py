"""The step REGISTER: one MLflow run and one registered version for each trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from protoquant.core.artifacts import artifact_digest
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.address import TrackingUnavailableError, place, report_page
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.mlflow_api import MlflowClient, ModelVersion
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.registry.flavor import log_model
from protoquant.tracking.registry.registry import create_version, find_version, holds_bundle, model_of, point_alias
from protoquant.tracking.runs.datasets import log_data
from protoquant.tracking.runs.measurements import HeadlineMetrics, headline, parameters
from protoquant.tracking.runs.pending import Pending, keep, locked, pending, remove
from protoquant.tracking.runs.report import REPORT
from protoquant.tracking.runs.runs import choose_run, log_measurements, log_params, own_tags, running
from protoquant.tracking.runs.trained_model import TrainedModel

SYNC = "protoquant tracking sync"


@dataclass(frozen=True)
class RegisterResult:
    """The version of a workspace's model in the registry.

    Attributes:
        name: Name of the registered model.
        version: Its version, from 1.
        alias: The alias that points to that version.
        run_id: The MLflow run that the version came from.
        already: Whether the version was registered before this call.
    """

    name: str
    version: int
    alias: str
    run_id: str
    already: bool


@dataclass(frozen=True)
class PendingRegistration:
    """A model that is not in the registry yet, because MLflow could not be reached.

    Attributes:
        path: The snapshot that ``protoquant tracking sync`` sends.
        reason: The error, as one line.
    """

    path: Path
    reason: str


def register(
    config: RegisterConfig, *, workspace: Workspace, params: Mapping[str, Any], on_event: OnEvent
) -> RegisterResult | PendingRegistration:
    """Put the trained model of a workspace into MLflow: one run, one version, one alias.

    A second call changes nothing. A version counts as registered when it holds the same bundle and its files exist;
    otherwise the bundle is registered again. The step continues from what a killed call left behind. If the bundle was
    evaluated again, the numbers of its run and version are updated. If MLflow, its database or its file store cannot
    be reached, or fails during the call, everything that was to be sent is kept in ``Workspace.pending``, and the step
    succeeds.

    Args:
        config: Name and alias.
        workspace: A workspace in which the six stages before this one have run.
        params: The whole of params.yaml.
        on_event: Receives a message that says what was done.

    Raises:
        ArtifactError: An artifact is missing or damaged, or was made for another bundle.
        ProtoQuantError: MLflow refused the request, for example because of a wrong password; nothing is kept, since
            the artifacts stay and the call can be repeated.
    """
    trained = TrainedModel(workspace, config.name, config.alias, parameters(params))
    trained.check()
    with locked(workspace, trained.digest):
        try:
            with open_store(workspace, create=True) as store:
                result = send(store, trained, on_event=on_event)
        except TrackingUnavailableError as error:
            return _kept(trained, error, on_event)
        waiting = _without_sent(workspace, trained)
    if waiting:
        on_event(MessageEvent(f"{waiting} kept for MLflow and not sent yet; {SYNC} sends them", "warning"))
    return result


def send(store: Store, trained: TrainedModel, *, at: datetime | None = None, on_event: OnEvent) -> RegisterResult:
    """Register a trained model in an open store, unless it is already registered.

    Args:
        store: The store that receives the model.
        trained: A model that was checked.
        at: The past time at which the model was to be registered; an alias that has moved since then stays. None: now.
        on_event: Receives a message that says what was done.
    """
    client, name, alias = store.client, trained.name, trained.alias
    found = find_version(client, name, trained.digest)
    version = found or _new_version(store, trained)
    if found:
        _follow_evaluation(store, version, trained, on_event)
        _follow_commit(client, version, trained, on_event)
    number = int(version.version)
    moved = point_alias(client, name, alias, number, at=at)
    done = f"already registered as version {number}" if found else f"registered as version {number}"
    now = ", the alias is new" if found and moved else ""
    on_event(MessageEvent(headline(trained.workspace).sentence()))
    if at is None:
        on_event(MessageEvent(f"report: {trained.workspace.report / 'index.html'}"))
    elif (held := int(client.get_registered_model(name).aliases[alias])) != number:
        now = f"; the alias stays at version {held}, which got it later"
    on_event(MessageEvent(f"{name}@{alias}: {done}{now}"))
    return RegisterResult(name, number, alias, str(version.run_id), already=found is not None)


def _kept(trained: TrainedModel, error: TrackingUnavailableError, on_event: OnEvent) -> PendingRegistration:
    path = keep(trained)
    on_event(MessageEvent(str(error), "warning"))
    on_event(MessageEvent(f"run and model are kept in {path}; {SYNC} sends them when MLflow is back", "warning"))
    return PendingRegistration(path, str(error))


def _without_sent(workspace: Workspace, trained: TrainedModel) -> int:
    """Remove the snapshot of a model that was just registered in the store it was kept for; count the others."""
    here = place(workspace)

    def is_sent(each: Pending) -> bool:
        return each.damage is None and (each.bundle, each.name, each.place) == (trained.digest, trained.name, here)

    waiting = pending(workspace)
    for each in filter(is_sent, waiting):
        remove(each.path)
    return sum(not is_sent(each) for each in waiting)


def _new_version(store: Store, trained: TrainedModel) -> ModelVersion:
    client, origin = store.client, trained.origin
    numbers = headline(trained.workspace)
    tags = origin.tags() | numbers.tags()
    experiment = experiment_id(store, trained.name)
    run_id = choose_run(client, experiment, origin=origin, params=trained.params)
    with running(client, run_id):
        log_params(client, run_id, trained.params)
        log_data(client, run_id, trained)
        log_measurements(client, run_id, workspace=trained.workspace, origin=origin)
        model_id = _logged_model(client, run_id, trained.digest)
        if model_id is None:
            model_tags = tags | own_tags(origin)
            made = log_model(run_id, bundle=trained.workspace.bundle, weights=trained.weights_file(), tags=model_tags)
            # The second search deletes any duplicate that a retry of MLflow's client has made.
            model_id = _logged_model(client, run_id, trained.digest) or made
        return create_version(
            client,
            trained.name,
            model_id=model_id,
            run_id=run_id,
            tags=tags,
            description=described(numbers, store.place, experiment, run_id),
        )


def _logged_model(client: MlflowClient, run_id: str, bundle_digest: str) -> str | None:
    """Find the complete model that an earlier call logged under the run, and delete unfinished ones."""
    experiment = client.get_run(run_id).info.experiment_id
    whole = None
    for model in client.search_logged_models([experiment], f"tags.bundle_digest = '{bundle_digest}'"):
        if model.source_run_id != run_id:
            continue
        if str(model.status) == "READY" and holds_bundle(model.artifact_location):
            whole = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def described(numbers: HeadlineMetrics, server: str, experiment: str, run_id: str) -> str:
    """Describe a version for its page: its numbers, and where the report is."""
    page = report_page(server, experiment, run_id)
    report = f"[Report]({page})" if page else f"Report: runs:/{run_id}/{REPORT}"
    return f"{numbers.sentence()} {report}"


def _follow_commit(client: MlflowClient, version: ModelVersion, trained: TrainedModel, on_event: OnEvent) -> None:
    """Note on a version that its sources have been committed since, which a promotion requires."""
    origin, tags = trained.origin, version.tags
    if tags.get("git_dirty") == "false" or origin.git_dirty != "false" or tags.get("lock_digest") != origin.lock_digest:
        return
    for name in ("git_commit", "git_dirty"):
        client.set_model_version_tag(version.name, version.version, name, origin.tags()[name])
    on_event(MessageEvent(f"{version.name}: version {version.version} is of commit {origin.git_commit[:12]} now"))


def _follow_evaluation(store: Store, version: ModelVersion, trained: TrainedModel, on_event: OnEvent) -> None:
    """Update the numbers of a version if its bundle was evaluated again."""
    if version.tags.get("evaluation_digest") == artifact_digest(trained.workspace.evaluation):
        return
    client, origin, numbers = store.client, trained.origin, headline(trained.workspace)
    model_id, tags = model_of(version), origin.tags() | numbers.tags()
    log_data(client, version.run_id, trained)
    log_measurements(client, version.run_id, workspace=trained.workspace, origin=origin, model_id=model_id)
    if model_id:
        client.set_logged_model_tags(model_id, tags)
    for name, value in tags.items():
        client.set_model_version_tag(version.name, version.version, name, value)
    experiment = client.get_run(version.run_id).info.experiment_id
    sentence = described(numbers, store.place, experiment, version.run_id)
    client.update_model_version(version.name, version.version, description=sentence)
    on_event(MessageEvent(f"{version.name}: version {version.version} was evaluated anew; its numbers are up to date"))
