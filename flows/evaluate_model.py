"""The flow ``evaluate-model``: a registered model on a data set; it changes neither."""

from pathlib import Path
from typing import Any, Literal

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from flows.deployments import check_offer
from flows.form import CLONE
from flows.recovery import end_tasks
from flows.runner_watch import end_with_runner
from flows.stages import process_task
from protoquant.core.artifacts import read_json
from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.workspace import Workspace
from protoquant.data.readers.registry import ReaderName, layouts
from protoquant.pipeline.environment import environment_of
from protoquant.pipeline.isolated_run import run_name
from protoquant.pipeline.lease import lease
from protoquant.pipeline.retention import prune_runs
from protoquant.tracking.connection.address import check_tracking
from protoquant.tracking.registry.source import URI_FORM

_WORST = 20


class Evaluation(BaseModel):
    """Which model, on which images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "models:/protoquant@challenger",
        pattern=URI_FORM,
        description="the registered model: models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model",
        json_schema_extra={"position": 0},
    )
    root: str = Field(
        min_length=1,
        description="the data set: a folder, as the runner's clone sees it, s3://bucket/prefix, or a spec of partbirds",
        json_schema_extra={"position": 1},
    )
    reader: ReaderName = Field(
        "image_folder", description=f"how the images lie: {layouts()}", json_schema_extra={"position": 2}
    )
    split: Literal["all", "train", "validation", "test"] = Field(
        "all", description="what is measured; all where the data has no splits", json_schema_extra={"position": 3}
    )

    def words(self, out: Path) -> list[str]:
        """Return the command that measures the model.

        Args:
            out: Folder for its output.
        """
        options = {"model": self.model, "reader": self.reader, "split": self.split, "out": out}
        return ["protoquant", "assess", *(f"--{name}={value}" for name, value in options.items()), "--", self.root]


@flow(
    name="evaluate-model",
    description="Measures a registered model on a data set: accuracy with its interval, calibration, confusions.",
    on_crashed=[end_tasks],
    on_cancellation=[end_tasks],
    persist_result=False,
)
def evaluate_model(params: Evaluation) -> State[Any]:
    """Measure the model.

    Args:
        params: What the form holds.
    """
    end_with_runner()
    folder = Workspace(CLONE).runs / run_name(str(flow_run.name), str(flow_run.id))
    try:
        check_offer(evaluate_model)
        check_tracking(Workspace(CLONE))
        prune_runs(CLONE)
        with lease(folder) as held:
            words = params.words(folder / "assessment")
            task = process_task("assess", words, CLONE, environment_of(CLONE, CLONE), held)
            state = task(return_state=True)
            if not state.is_completed():
                return Failed(message=state.message)
            return Completed(message=_show(folder / "assessment"))
    except ProtoQuantError as error:
        return Failed(message=one_line(error))


def _show(assessment: Path) -> str:
    """Put the numbers and the worst confusions on the page; return the headline."""
    import pandas as pd

    from protoquant.analysis.assess import (  # imports torch, which a run need not wait for at its start
        CONFUSIONS,
        METRICS,
    )

    numbers = read_json(assessment / METRICS)
    rows = [
        {"metric": name, **(value if isinstance(value, dict) else {"value": value})} for name, value in numbers.items()
    ]
    create_table_artifact(rows, key="metrics", description="Measured on the data set")
    confusions = pd.read_csv(assessment / CONFUSIONS).head(_WORST)
    if len(confusions):
        rows = [dict(zip(confusions.columns, row, strict=True)) for row in confusions.to_numpy().tolist()]
        create_table_artifact(rows, key="confusions", description="The most frequent ones")
    create_markdown_artifact(f"The answer to every image is in `{assessment}`.", key="files")
    top1 = numbers["top1"]
    return f"top-1 {top1['value']:.4f} ({top1['low']:.4f} to {top1['high']:.4f}, n {top1['n']})"
