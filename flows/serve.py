"""The runner: ``python -m flows.serve`` offers the flows to the Prefect server and executes the runs started there."""

import asyncio
import base64
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import cast
from uuid import UUID

import httpx
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_RUNNER_SERVER_ENABLE, get_current_settings, temporary_settings
from prefect.utilities.callables import ParameterSchema

from flows.evaluate_model import evaluate_model
from flows.experiment import experiment
from flows.form import CLONE
from flows.health import heartbeat
from flows.late_runs import tell_late_runs
from flows.promote import promote
from flows.recovery import recover
from flows.slots import make_slots
from flows.sweep import sweep
from protoquant.core.errors import ProtoQuantError, UnavailableError
from protoquant.core.files import written_aside
from protoquant.core.machine.cores import share_cores
from protoquant.core.machine.proxies import spare_loopback
from protoquant.core.workspace import Workspace
from protoquant.settings.settings import Settings

_LOOK = 3.0  # seconds between two polls for runs to start
_RUNS = 20  # runs at once; their stages wait for slots
_AGAIN = 60.0  # seconds between two searches for runs whose process is gone
_BEAT = 1.0  # seconds between two checks of the runner itself


class _Closed(ParameterSchema):
    """A schema that refuses unknown parameters; Prefect accepts them, and the run crashes without a reason."""

    additionalProperties: bool  # noqa: N815


def main() -> int:
    """Serve until a signal ends it.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong use.
    """
    share_cores()  # the processes of runs inherit it, and the next
    spare_loopback()
    try:
        os.chdir(CLONE)
        server = check_server()
        limits = make_slots(Settings.load(Workspace(CLONE).params).threads)
        said = ", ".join(f"{tag} {limit}" for tag, limit in limits.items())
        sys.stderr.write(f"runner of {CLONE} at {server}; stages at once: {said}\n")
        threading.Thread(target=_recover_for_ever, daemon=True).start()
        offer(server)
    except ProtoQuantError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def offer(server: str) -> None:
    """Make the deployments, then execute the runs started from them until a signal ends this.

    Args:
        server: Address of the Prefect server.
    """
    runner = Runner(name="protoquant", pause_on_shutdown=False, limit=_RUNS, query_seconds=_LOOK)
    ids = []
    for flow in (experiment, sweep, evaluate_model, promote):
        # Prefect's functions return a result outside an event loop, and a coroutine inside one.
        deployment = cast("RunnerDeployment", flow.to_deployment(flow.name, description=flow.description))
        found = deployment._parameter_openapi_schema  # noqa: SLF001  there is no public way to close it
        deployment._parameter_openapi_schema = _Closed(**found.model_dump(), additionalProperties=False)  # noqa: SLF001
        ids.append(cast("UUID", runner.add_deployment(deployment)))
        # Runs get this flow, not the one that the server names: whoever can change a deployment could name any code.
        runner._deployment_registry.register_flow(ids[-1], flow)  # noqa: SLF001  what add_flow does
    tell_late_runs([str(one) for one in ids])
    # The runner's own web server takes orders from anyone.
    with _beating(runner, server), temporary_settings({PREFECT_RUNNER_SERVER_ENABLE: False}):
        asyncio.run(runner.start(webserver=False))


def check_server() -> str:
    """Return the address of the Prefect server, or say what to do if none answers.

    Raises:
        UnavailableError: PREFECT_API_URL is not set, or does not answer. ProtoQuantError: It refuses the login.
    """
    settings = get_current_settings().api
    url, login = settings.url, settings.auth_string
    if url is None:
        raise UnavailableError("PREFECT_API_URL is not set; for the stack (make stack-up): source .stack/env")
    token = base64.b64encode(login.get_secret_value().encode()).decode() if login else ""
    try:
        # Not /health, which answers anyone
        answer = httpx.get(f"{url}/version", headers={"Authorization": f"Basic {token}"} if login else {}, timeout=5.0)
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise ProtoQuantError(
                f"the Prefect server at {url} refuses: PREFECT_API_AUTH_STRING is {'wrong' if login else 'not set'}; "
                "for the stack: source .stack/env"
            )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"no Prefect server answers at {url} ({error}); start it (make stack-up), or correct PREFECT_API_URL"
        ) from error
    return url


@contextmanager
def _beating(runner: Runner, server: str) -> Iterator[None]:
    """Renew the file that `flows.health` reads whenever the runner has looked for runs."""
    file, over = heartbeat(server), threading.Event()
    file.parent.mkdir(parents=True, exist_ok=True)

    def beat() -> None:
        last = None
        while not over.wait(_BEAT):
            if runner.last_polled != last:
                last = runner.last_polled
                with written_aside(file, file.with_name(f"{file.name}.new")) as aside:
                    aside.write_text(str(os.getpid()), encoding="utf-8")

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        file.unlink(missing_ok=True)


def _recover_for_ever() -> None:
    never = threading.Event()
    while True:
        try:
            for name in recover():
                sys.stderr.write(f"{name}: its process was gone; marked as crashed\n")
        except Exception as error:  # noqa: BLE001  a server that is away now may be back in a minute
            sys.stderr.write(f"could not look for runs whose process is gone: {error}\n")
        never.wait(_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
