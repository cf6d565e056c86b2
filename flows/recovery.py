"""Gives runs whose processes are gone, and their tasks, a state that says so."""

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from flows.form import CLONE
from protoquant.core.workspace import Workspace
from protoquant.pipeline.isolated_run import run_name
from protoquant.pipeline.lease import in_use

DEPLOYMENTS = ("experiment", "sweep", "evaluate-model", "promote")
_GONE = "its process ended without a word, or the machine went down; run it again: it continues where it stopped"
_SETTLED = timedelta(seconds=60)  # a run that has just begun may not hold its workspace yet
_PAGE = 200


def end_tasks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001  Prefect's form
    """End the tasks of a dead run too; otherwise they would count as running for ever and hold their slots.

    This is a Prefect hook: the runner calls it when the process of a run has died or was cancelled.
    """
    with get_client(sync_client=True) as client:
        _end_tasks(client, FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])), state.message or "the run ended")


def recover() -> list[str]:
    """End the runs of this clone that the server believes to be running although no process has their workspace.

    Runs of other clones and machines have no folder here and are left alone.

    Returns:
        The names of these runs.
    """
    found = []
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=_in_state(StateType.RUNNING, StateType.CANCELLING), deployment_filter=_own(), limit=_PAGE
        )
        for run in filter(_is_gone, runs):
            cancelling = run.state is not None and run.state.is_cancelling()
            state: State[Any] = Cancelled(message=_GONE) if cancelling else Crashed(message=_GONE)
            client.set_flow_run_state(run.id, state, force=True)
            found.append(run.name)
        # End the tasks of these runs, and those whose end was lost while the server was away.
        ended = _in_state(StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
        _end_tasks(client, ended, _GONE)
    return found


def _is_gone(run: FlowRun) -> bool:
    folder = Workspace(CLONE).runs / run_name(run.name, str(run.id))
    settled = run.state is not None and datetime.now(UTC) - run.state.timestamp > _SETTLED
    return settled and folder.is_dir() and not in_use(folder)


def _end_tasks(client: SyncPrefectClient, of_runs: FlowRunFilter, reason: str) -> None:
    running = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    tasks = client.read_task_runs(
        flow_run_filter=of_runs, task_run_filter=running, deployment_filter=_own(), limit=_PAGE
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=reason), force=True)


def _own() -> DeploymentFilter:
    return DeploymentFilter(name=DeploymentFilterName(any_=list(DEPLOYMENTS)))


def _in_state(*types: StateType) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))))
