"""The flow ``sweep``: many trials of quantize and train on one feature store, apart from any user's files."""

import json
import shutil
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.deployments import check_offer
from flows.experiment import plan_of
from flows.form import CLONE, sweep_form
from flows.recovery import end_tasks
from flows.runner_watch import end_with_runner
from flows.stages import process_task, stage_task
from protoquant.core.artifacts import read_json, read_table
from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.workspace import Workspace
from protoquant.pages.pictures import data_uri
from protoquant.pipeline.environment import environment_of
from protoquant.pipeline.graph import stages
from protoquant.pipeline.isolated_run import IsolatedRun, isolated
from protoquant.pipeline.retention import prune_runs
from protoquant.tracking.connection.address import check_tracking

Sweep = sweep_form()
_SHOWN = 50


@flow(
    name="sweep",
    description="Tries many values of quantize and train on the stored features, and says which to take.",
    on_crashed=[end_tasks],
    on_cancellation=[end_tasks],
    persist_result=False,
)
def sweep(params: Sweep = Sweep()) -> State[Any]:  # type: ignore[valid-type]  # noqa: B008
    """Run the stages before the first searched one, then the trials.

    Args:
        params: What the form holds.
    """
    end_with_runner()
    try:
        check_offer(sweep)
        plan = plan_of(params)
        check_tracking(Workspace(CLONE))
        prune_runs(CLONE)
        with isolated(CLONE, plan) as run:
            name = f"{params.sweep}-{plan.name}"  # type: ignore[attr-defined]
            get_run_logger().info("sweep %s in %s", name, run.root)
            reason = _run(run, name)
            folder = run.workspace.sweeps / name
            sentence = _show(folder) if (folder / "result").is_dir() else ""
            if reason:
                return Failed(message=reason)
            shutil.copytree(folder, Workspace(CLONE).sweeps / name, dirs_exist_ok=True)
            run.discard()
    except ProtoQuantError as error:
        return Failed(message=one_line(error))
    return Completed(message=f"{sentence} protoquant sweep apply {name}")


def _run(run: IsolatedRun, name: str) -> str:
    """Run the tasks; return why they failed, empty if they did not."""
    searched = {key.partition(".")[0] for key in run.settings.sweep.space}
    ended: list[State[Any]] = []
    for stage in stages(run.root):
        if stage.name in searched or stage.name == "train":
            break
        ended.append(stage_task(run, stage.name)(return_state=True, wait_for=ended))
    known = (run.workspace.sweeps / name / "plan").is_dir()
    words = ["protoquant", "sweep", "resume" if known else "run", "--", name]
    trials = process_task("trials", words, run.root, environment_of(run.root, run.clone), run.held)
    ended.append(trials(return_state=True, wait_for=ended))
    failed = [state for state in ended if state.is_failed() or state.is_crashed()]
    return "; ".join(str(state.message) for state in failed)


def _show(folder: Path) -> str:
    """Put the result on the page; return it as a sentence."""
    result = folder / "result"
    trials = read_table(result / "trials.parquet").sort_values("accuracy", ascending=False).head(_SHOWN)
    rows = [json.loads(row.to_json()) for _, row in trials.drop(columns="trial").iterrows()]
    create_table_artifact(rows, key="trials", description="The most accurate first, measured on held-out images")
    choice = read_json(result / "choice.json")["choice"]
    if choice is None:
        return "No trial is done."
    picture = data_uri((result / "accuracy-against-size.png").read_bytes(), "png")
    create_markdown_artifact(
        f"![accuracy against size]({picture})\n\n{choice['sentence']}\n\n{choice['caution']}",
        key="accuracy-against-size",
        description="Every trial and every head; the chosen one is ringed",
    )
    return str(choice["sentence"])
