"""A Prefect server, a clone of the project and its runner, driven as the UI drives them: by the REST API."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.servers import free_ports
from tests.workspaces import Job

SECRET = "of-the-tests-alone"  # noqa: S105
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_DEADLINE = 300.0  # seconds; a small job needs about twenty on a quiet machine


def wait_for(ready: Callable[[], Any], what: str, seconds: float = _DEADLINE) -> Any:
    """Ask until the answer is true."""
    until = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.2)
    return answer


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run a server on its own database; yields the variables of its clients."""
    port = free_ports(1)[0]
    own = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": SECRET,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        environment = {**os.environ, **own, "PREFECT_SERVER_API_AUTH_STRING": SECRET}
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(f"{own['PREFECT_API_URL']}/health"), (folder / "log").read_text()[-2000:])
        yield own
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class Served:
    """A clone whose flows a runner offers."""

    job: Job
    variables: dict[str, str]
    log: Path
    runner: "subprocess.Popen[bytes] | None" = None
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """One client for all questions: to make one takes more time than to ask."""
        login = base64.b64encode(self.variables["PREFECT_API_AUTH_STRING"].encode()).decode()
        self._client = httpx.Client(headers={"Authorization": f"Basic {login}"}, timeout=60, trust_env=False)

    @property
    def api(self) -> str:
        """Address of the REST API."""
        return self.variables["PREFECT_API_URL"]

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the REST API as who has its secret; as Prefect's own clients do, again while its SQLite is locked."""

        def answer() -> httpx.Response | None:
            found = self._client.request(method, f"{self.api}/{path}", **options)
            return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found

        answered: httpx.Response = wait_for(answer, f"the server answers {method} {path}")
        return answered

    def serve(self) -> None:
        """Start the runner and wait for its deployments."""
        environment = {**self.job.environment, **self.variables, "PROTOQUANT_WORKERS": "2"}
        with self.log.open("ab") as log:
            self.runner = subprocess.Popen(
                [self.job.programs / "python", "-m", "flows.serve"],
                cwd=self.job.root,
                env=environment,
                stdout=log,
                stderr=log,
            )
        last = "promote"  # the runner offers them one after the other
        wait_for(lambda: self.deployment(last), f"the deployments\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End the runner."""
        if self.runner and self.runner.poll() is None:
            self.runner.terminate()
            self.runner.wait(60)

    def deployment(self, name: str) -> str | None:
        """The id of a deployment; None where it is not there."""
        answer = self.ask("GET", f"deployments/name/{name}/{name}")
        return answer.json()["id"] if answer.status_code == 200 else None

    def post(self, parameters: dict[str, Any], flow: str = "experiment") -> httpx.Response:
        """Start a run as the UI does."""
        path = f"deployments/{self.deployment(flow)}/create_flow_run"
        return self.ask("POST", path, json={"parameters": parameters})

    def start(self, params: dict[str, Any], flow: str = "experiment") -> str:
        """Start a run and return its id."""
        answer = self.post({"params": params}, flow)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """What the server says of a run."""
        found: dict[str, Any] = self.ask("GET", f"flow_runs/{run_id}").json()
        return found

    def end(self, run_id: str) -> tuple[str, str]:
        """Wait for the end of a run and return the name and the message of its state."""
        wait_for(lambda: self.run(run_id)["state"]["type"] in FINAL, f"end of {run_id}: {self.tasks(run_id)}")
        state = self.run(run_id)["state"]
        return state["name"], state["message"] or ""

    def tasks(self, run_id: str) -> dict[str, tuple[str, str]]:
        """Name and message of the last state of each task."""
        query = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = self.ask("POST", "task_runs/filter", json=query).json()
        states = {task["name"]: task["state"] or {"name": "Pending", "message": ""} for task in found}  # none at first
        return {name: (state["name"], state["message"] or "") for name, state in states.items()}

    def settled(self, run_id: str, count: int) -> dict[str, tuple[str, str]]:
        """The tasks of an ended run: their states reach the server as events, a moment after the run's own."""

        def ended() -> dict[str, tuple[str, str]] | None:
            tasks = self.tasks(run_id)
            open_ = {"Pending", "Running"} & {name for name, _ in tasks.values()}
            return tasks if len(tasks) == count and not open_ else None

        found: dict[str, tuple[str, str]] = wait_for(ended, f"the ends of {count} tasks: {self.tasks(run_id)}")
        return found

    def artifacts(self, run_id: str) -> dict[str | None, dict[str, Any]]:
        """The artifacts of a run by key."""
        query = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        return {one["key"]: one for one in self.ask("POST", "artifacts/filter", json=query).json()}

    def logs(self, run_id: str) -> str:
        """All lines that a run said."""
        query = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines: list[str] = []
        while page := self.ask("POST", "logs/filter", json={**query, "offset": len(lines)}).json():
            lines += [line["message"] for line in page]
        return "\n".join(lines)

    def set_state(self, run_id: str, **state: Any) -> None:
        """Give a run a state, as the UI's buttons do."""
        self.ask("POST", f"flow_runs/{run_id}/set_state", json={"state": state, "force": True}).raise_for_status()

    def retry(self, run_id: str) -> None:
        """Press the UI's retry button."""
        before = self.run(run_id)["run_count"]
        self.set_state(run_id, type="SCHEDULED", name="AwaitingRetry")
        wait_for(lambda: self.run(run_id)["run_count"] > before, "the next attempt")

    def stage_processes(self, stage: str | None = None) -> list[psutil.Process]:
        """The processes of stages that run in a worktree of this clone."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words, folder = process.info["cmdline"] or [], process.info["cwd"] or ""
            ours = folder.startswith(str(self.job.root / ".git" / "protoquant" / "runs"))
            verb = len(words) > 2 and words[1].endswith("/protoquant") and (stage in (None, words[2]))
            if ours and verb:
                found.append(process)
        return found

    def wait_for_stage(self, stage: str) -> psutil.Process:
        """Wait until a stage runs and return its process."""
        found: list[psutil.Process] = wait_for(lambda: self.stage_processes(stage), f"stage {stage}")
        return found[0]
