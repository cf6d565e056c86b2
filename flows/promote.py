"""The flow ``promote``: a registered version becomes champion if every gate lets it pass."""

from typing import TYPE_CHECKING, Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from flows.deployments import check_offer
from flows.form import CLONE
from flows.recovery import end_tasks
from flows.runner_watch import end_with_runner
from flows.stages import process_task
from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.workspace import Workspace
from protoquant.pipeline.environment import environment_of
from protoquant.pipeline.isolated_run import run_name
from protoquant.pipeline.lease import lease
from protoquant.pipeline.retention import prune_runs
from protoquant.tracking.connection.address import check_tracking
from protoquant.tracking.registry.source import VERSION_FORM

if TYPE_CHECKING:
    from protoquant.tracking.registry.versions import Listed

_VERDICT = {True: "passed", False: "refused", None: "off"}


class Candidate(BaseModel):
    """Which version wants to be champion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "models:/protoquant@challenger",
        pattern=VERSION_FORM,
        description="the registered version: models:/NAME@ALIAS or models:/NAME/VERSION",
        json_schema_extra={"position": 0},
    )
    force: str | None = Field(
        None,
        pattern=r"\S",
        max_length=500,
        description="why it is to be champion whatever the gates say, kept on the version; empty: the gates decide",
        json_schema_extra={"position": 1},
    )

    def words(self, uri: str) -> list[str]:
        """Return the command that promotes a version.

        Args:
            uri: URI of the version.
        """
        forced = ["--force", f"--reason={self.force}"] if self.force else []
        return ["protoquant", "registry", "promote", *forced, "--", uri]


@flow(
    name="promote",
    description="Makes a registered version champion if every gate lets it pass; the verdict is on the page.",
    on_crashed=[end_tasks],
    on_cancellation=[end_tasks],
    persist_result=False,
)
def promote(params: Candidate = Candidate()) -> State[Any]:  # noqa: B008
    """Ask the gates, and move the champion.

    Args:
        params: What the form holds.
    """
    end_with_runner()
    folder = Workspace(CLONE).runs / run_name(str(flow_run.name), str(flow_run.id))
    try:
        check_offer(promote)
        check_tracking(Workspace(CLONE))
        prune_runs(CLONE)
        with lease(folder) as held:
            uri, before = _looked_up(params.model)
            task = process_task("promote", params.words(uri), CLONE, environment_of(CLONE, CLONE), held)
            state = task(return_state=True)
            _, after = _looked_up(uri)
            if after.gates and after.history.get("gates_asked") != before.history.get("gates_asked"):
                rows = [
                    {"gate": gate.name, "verdict": _VERDICT[gate.passed], "why": gate.said}
                    for gate in after.gates.gates
                ]
                create_table_artifact(rows, key="gates", description=f"{after.verdict}; {after.gates.beside}")
            if not state.is_completed():
                return Failed(message=state.message)
            return Completed(message=f"{after.name}@champion is version {after.version}")
    except ProtoQuantError as error:
        return Failed(message=one_line(error))


def _looked_up(model: str) -> "tuple[str, Listed]":
    """Return the version's URI by number, so that an alias that moves changes nothing, and its description."""
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.registry.versions import Named, describe

    workspace = Workspace(CLONE)
    with open_store(workspace, create=False) as store:
        found = describe(store, workspace, Named.parse(model).find(store))
    return f"models:/{found.name}/{found.version}", found
