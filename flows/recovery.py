"""Runs whose processes are gone: they get a state that says so, and so do their tasks."""

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
from prefect.states import Crashed

from flows.form import CLONE
from protoquant.core.workspace import Workspace
from protoquant.pipeline.isolated import run_name
from protoquant.pipeline.lease import in_use

_SETTLED = timedelta(seconds=60)  # a run that has just begun may not hold its workspace yet
_ENDED = "its process ended without a word, or the machine went down; run it again: it continues where it stopped"
_PAGE = 200


def end_tasks(_flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Give the tasks of a dead run an end too; without it they would be running for ever and hold their slots.

    A hook of Prefect: the runner calls it when the process of a run has died or was cancelled.
    """
    with get_client(sync_client=True) as client:
        _end_tasks(client, flow_run, state.message or "the run ended")


def recover() -> list[str]:
    """Find runs of this machine that the server believes to be running while no process has their workspace.

    Returns:
        Their names.
    """
    found = []
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING]))
            ),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["experiment", "evaluate-model"])),
            limit=_PAGE,
        )
        for run in runs:
            if _is_gone(run):
                client.set_flow_run_state(run.id, Crashed(message=_ENDED), force=True)
                _end_tasks(client, run, _ENDED)
                found.append(run.name)
    return found


def _is_gone(run: FlowRun) -> bool:
    folder = Workspace(CLONE).runs / run_name(run.name, str(run.id))
    settled = run.state is not None and datetime.now(UTC) - run.state.timestamp > _SETTLED
    return settled and folder.is_dir() and not in_use(folder)


def _end_tasks(client: SyncPrefectClient, run: FlowRun, reason: str) -> None:
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
        ),
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=reason), force=True)
