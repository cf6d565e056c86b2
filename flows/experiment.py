"""The flow ``experiment``: the whole pipeline with its own parameters, apart from any user's files."""

from typing import Any

from prefect import State, flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.deployments import check_offer
from flows.form import CLONE, experiment_form
from flows.recovery import end_tasks
from flows.results import show_results
from flows.runner_watch import end_with_runner
from flows.stages import record_task, stage_task
from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.workspace import Workspace
from protoquant.pipeline.graph import stages
from protoquant.pipeline.isolated_run import IsolatedRun, RunSpec, isolated, run_name
from protoquant.pipeline.retention import prune_runs
from protoquant.tracking.connection.address import check_tracking

Experiment = experiment_form()


@flow(
    name="experiment",
    description="Runs the stages of dvc.yaml with the parameters of the form, in a workspace of its own; "
    "keeps the run as a DVC experiment and the model in MLflow.",
    on_crashed=[end_tasks],
    on_cancellation=[end_tasks],
    persist_result=False,
)
def experiment(params: Experiment = Experiment()) -> State[Any]:  # type: ignore[valid-type]  # noqa: B008
    """Run the pipeline.

    Args:
        params: What the form holds.
    """
    end_with_runner()
    logger = get_run_logger()
    try:
        check_offer(experiment)
        plan = plan_of(params)
        check_tracking(Workspace(CLONE))
        prune_runs(CLONE)
        with isolated(CLONE, plan) as run:
            where = "continues" if run.continued else "runs"
            logger.info("%s in %s, to be kept as DVC experiment %s", where, run.root, plan.name)
            if reason := run_stages(run):
                return Failed(message=reason)
            show_results(run)
            run.discard()
    except ProtoQuantError as error:
        return Failed(message=one_line(error))
    return Completed(message=f"DVC experiment {plan.name}")


def plan_of(params: Any) -> RunSpec:
    """Return the run that the form asks for, named after the flow run."""
    identity = str(flow_run.id)
    return RunSpec(
        name=run_name(str(flow_run.name), identity),
        changes=params.changes(),
        revision=params.revision,
        uncommitted=params.uncommitted,
        note=identity,
    )


def run_stages(run: IsolatedRun) -> str:
    """Run the tasks of an open run in the order of DVC's graph, and record it.

    Returns:
        Why the run failed; empty if it did not. Stages after a failed one end as ``NotReady``.
    """
    ended: dict[str, State[Any]] = {}
    for stage in stages(run.root):
        upstream = [ended[name] for name in stage.upstream]
        ended[stage.name] = stage_task(run, stage.name)(return_state=True, wait_for=upstream)
    ended["record"] = record_task(run)(return_state=True, wait_for=list(ended.values()))
    failed = {name: state for name, state in ended.items() if state.is_failed() or state.is_crashed()}
    return "; ".join(f"{name}: {state.message}" for name, state in failed.items())
