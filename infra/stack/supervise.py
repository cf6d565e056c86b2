"""Configures, starts, calls and ends supervisord."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from infra.stack import postgres, programs, reaper
from infra.stack.errors import StackError
from infra.stack.passwords import write_private
from infra.stack.place import Place
from infra.stack.services import SERVICES, Service

SOCKET_BYTES = 85  # a socket's path may have 104 or 108 bytes; supervisord appends its pid while it makes one
START_SECONDS = 20
# A stack does not depend on other servers that its user's shell names
FOREIGN = ("AWS_", "MLFLOW_", "PG", "POSTGRES_", "PREFECT_", "RAY_", "S3_", "SUPERVISOR_", "WEED_")

DAEMON = """\
[supervisord]
logfile={folder}/logs/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}/logs
{user}
[unix_http_server]
file={folder}/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:reaper]
command={reaper}
events=PROCESS_STATE_EXITED
stdout_logfile=NONE
stderr_logfile={folder}/logs/reaper.log
"""

PROGRAM = """
[program:{name}]
command={command}
directory={directory}
environment={environment}
{user}autostart=false
autorestart=true
startsecs=1
startretries=20
stopsignal={service.stop_signal}
stopasgroup={group}
killasgroup=true
stopwaitsecs=20
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def render(folder: Path, root: Path, place: Place) -> str:
    """Return supervisord's configuration.

    Args:
        folder: The stack's folder.
        root: The clone, where the runner works.
        place: Where the services run.
    """
    user = "user=root\n" if os.geteuid() == 0 else ""  # without it, supervisord warns
    words = shlex.join([sys.executable, reaper.__file__])
    text = DAEMON.format(folder=escape(str(folder)), reaper=escape(words), user=user)
    account = postgres.account()
    for service in SERVICES.values():
        program, *arguments = place.words(service.command)
        text += PROGRAM.format(
            name=service.name,
            command=escape(shlex.join([programs.find(program), *arguments])),
            directory=escape(str(root) if service.name == "runner" else place.data[service.name]),
            environment=escape(",".join(f'{name}="{value}"' for name, value in variables(service, place).items())),
            user=f"user={account.pw_name}\n" if account and service.name == "postgres" else "",
            service=service,
            group=str(service.stop_group).lower(),
            logs=escape(str(folder / "logs")),
        )
    return text


def escape(text: str) -> str:
    """Escape percent signs for supervisord."""
    return text.replace("%", "%%")


def variables(service: Service, place: Place) -> dict[str, str]:
    """Return the variables that a service's process gets besides the plain environment."""
    account = postgres.account()
    own = {"PGDATA": place.data["postgres"]} if service.name == "postgres" else {}
    if own and account:
        own |= {"HOME": account.pw_dir, "USER": account.pw_name}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return place.variables(service.environment) | {"PATH": path} | own


def plain_environment() -> dict[str, str]:
    """Return this process's environment without the variables that point the services' tools elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Supervisor:
    """The supervisord of one stack's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "supervisord.conf"
        self.url = f"unix://{folder / 'supervisor.sock'}"
        self.transport = SupervisorTransport(None, None, self.url)
        self.rpc: Any = ServerProxy("http://127.0.0.1", self.transport).supervisor

    def runs(self) -> bool:
        """Return whether supervisord answers."""
        try:
            return bool(self.rpc.getState()["statename"] == "RUNNING")
        except (OSError, HTTPException, Fault):
            self.transport.close()  # otherwise it would reuse a connection to one that is gone
            return False

    def load(self, text: str) -> None:
        """Make supervisord run with a configuration; services whose lines are the same are not touched.

        Args:
            text: The configuration.

        Raises:
            StackError: If supervisord does not start.
        """
        if self.runs():
            if self.config.read_text(encoding="utf-8") != text:
                write_private(self.config, text)
                self._reload()
            return
        kill(self.processes())  # left by a killed supervisord, or from before a crash
        write_private(self.config, text)
        if len(os.fsencode(self.url)) > SOCKET_BYTES:
            raise StackError(f"{self.folder} is too long a name for a socket's folder; choose a shorter --folder")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config)]
        done = subprocess.run(command, cwd="/", env=plain_environment(), capture_output=True, text=True, check=False)
        deadline = time.monotonic() + START_SECONDS
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.runs():
                return
            time.sleep(0.05)
        said = [*done.stderr.strip().splitlines(), f"see {self.folder}/logs/supervisord.log"]
        raise StackError(f"supervisord did not start: {said[0]}")

    def _reload(self) -> None:
        [[added, changed, removed]] = self.rpc.reloadConfig()
        for name in [*changed, *removed]:
            self.rpc.stopProcessGroup(name)
            self.rpc.removeProcessGroup(name)
        for name in [*added, *changed]:
            self.rpc.addProcessGroup(name)

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord knows of each service; empty if it does not run."""
        if not self.runs():
            return {}
        return {each["name"]: each for each in self.rpc.getAllProcessInfo() if each["name"] in SERVICES}

    def start(self, name: str) -> None:
        """Start a service, after ending what an earlier process of it may have left."""
        self.stop(name)
        kill(self.processes(name))
        with contextlib.suppress(Fault):  # it died at once, which the wait for its health will report
            self.rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Stop a service and wait for its end."""
        with contextlib.suppress(Fault):  # it did not run
            self.rpc.stopProcess(name, True)

    def shut_down(self) -> None:
        """End supervisord, once its services are stopped, and any process that is left of this stack."""
        if self.runs():
            daemon = psutil.Process(self.rpc.getPID())
            for name in self.states():
                self.rpc.removeProcessGroup(name)  # otherwise it spends a second on each, even if stopped
            self.rpc.shutdown()
            with contextlib.suppress(psutil.Error):
                daemon.wait(START_SECONDS)
        kill(self.processes())

    def processes(self, service: str | None = None) -> list[psutil.Process]:
        """Find the stack's processes without asking supervisord, which may be gone.

        supervisord marks the environment of every process that it starts, and children inherit the mark.

        Args:
            service: Limits the result to this service.
        """
        return [each for each in psutil.process_iter() if each.pid != os.getpid() and self._owns(each, service)]

    def _owns(self, process: psutil.Process, service: str | None) -> bool:
        try:
            environment: Mapping[str, str] = process.environ()
            if environment.get("SUPERVISOR_SERVER_URL") == self.url:
                return service in (None, environment.get("SUPERVISOR_PROCESS_NAME"))
            return service is None and str(self.config) in process.cmdline()
        except psutil.Error:
            return False


def kill(processes: list[psutil.Process]) -> None:
    """End processes: INT, which every server here understands, then KILL."""
    for each in present(processes):
        each.send_signal(2)
    _, alive = psutil.wait_procs(processes, timeout=10 if processes else 0)
    for each in present(alive):
        each.kill()
    psutil.wait_procs(alive, timeout=10)


def present(processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    """Yield the processes that are still alive, and ignore those that end meanwhile."""
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield each
