"""Refuses to work in a run whose deployment was changed on the server.

The runner hands its own flow to the process of a run, so code that the server names is never loaded. Whoever changed a
deployment may still expect a run to do something else than it would.
"""

from typing import Any, cast
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.runtime import deployment

from protoquant.core.errors import ProtoQuantError

_PATH = "."  # the clone, where the runner works


def check_offer(flow: Flow[..., Any]) -> None:
    """Compare the current run's deployment with what this clone's runner offers; call this before any work.

    A run of a work pool's worker passes: the worker has taken the pull steps already, and trusts whoever has the
    server's secret.

    Args:
        flow: The flow that runs.

    Raises:
        ProtoQuantError: Entry point, path, storage or pull steps differ.
    """
    if deployment.id is None:
        return
    with get_client(sync_client=True) as client:
        there = client.read_deployment(UUID(str(deployment.id)))
    if there.work_pool_name is not None:
        return
    offered = cast("RunnerDeployment", flow.to_deployment(flow.name))  # a coroutine only inside an event loop
    pairs = {
        "entrypoint": (there.entrypoint, offered.entrypoint),
        "path": (there.path, _PATH),
        "pull_steps": (there.pull_steps or None, None),
        "storage": (there.storage_document_id, None),
    }
    if changed := [name for name, (found, own) in pairs.items() if found != own]:
        raise ProtoQuantError(
            f"the deployment {there.name} was changed on the server ({', '.join(changed)}), so nothing was run; "
            "start the runner again, which offers its own"
        )
