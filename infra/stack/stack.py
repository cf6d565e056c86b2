"""Starts and stops a stack: the services of one folder."""

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from infra.stack import certificates, passwords, ports, postgres
from infra.stack.errors import StackError
from infra.stack.health import is_healthy
from infra.stack.place import Place, loopback
from infra.stack.services import SERVICES, Service
from infra.stack.supervise import Supervisor, plain_environment, render, variables

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180  # seconds until healthy; a minute is usual where Python has no bytecode yet
DOWN = ("STOPPED", "EXITED", "FATAL", "BACKOFF")


@dataclass(frozen=True)
class Status:
    """The present state of one service.

    Attributes:
        name: Its name.
        state: ``healthy``, ``unhealthy``, ``stopped`` or ``failed``.
        pid: Its process, 0 if there is none.
        url: Address to open.
        log: Its log file.
    """

    name: str
    state: str
    pid: int
    url: str
    log: Path


class Stack:
    """The services of one folder.

    Args:
        folder: Folder of data, logs and passwords.
        offset: Number added to every port, fixed at the first start; if None, the number of that start, or 0.
        root: The clone, where the runner works.
    """

    def __init__(self, folder: Path, *, offset: int | None = None, root: Path = ROOT) -> None:
        self.folder = folder.resolve()
        self.root = root
        self._offset = offset
        self.supervisor = Supervisor(self.folder)

    @property
    def offset(self) -> int:
        """Number added to every port of the table."""
        kept = self.folder / "offset.json"
        return json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else self._offset or 0

    @property
    def place(self) -> Place:
        """Addresses, ports, folders and, after the first start, passwords."""
        return loopback(self.folder, offset=self.offset, secret=passwords.read(self._passwords))

    def up(self, names: Sequence[str] = tuple(SERVICES), *, say: Callable[[str], None] = lambda _: None) -> None:
        """Start services one after the other, each once those it needs are healthy; leave healthy ones alone.

        Args:
            names: Services to start; those that they need must be among them or be healthy.
            say: Receives a line for each service.

        Raises:
            StackError: If one does not become healthy; those before it keep running.
        """
        self._make_folder(say)
        with self._alone():
            postgres.make_cluster(self.folder / "postgres", self.place.secret["POSTGRES_PASSWORD"])
            place = self.place  # only now, because the cluster's folder may have become a link
            if self._rotated.exists():
                postgres.set_password(self.folder / "postgres", place.secret["POSTGRES_PASSWORD"])
                self._rotated.unlink()
            for name, service in SERVICES.items():
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
                for file, content in service.files.items():
                    passwords.write_private(self.folder / name / file, place.fill(content))
            _make_private(Path(place.session).parent)
            if (self.folder / "postgres").is_symlink():
                say(f"postgres keeps its data in {(self.folder / 'postgres').resolve()}, which its user can reach")
            self.supervisor.load(render(self.folder, self.root, place))
            passwords.write_private(self.folder / "env", passwords.shell(self.env()))
            for name in [each for each in SERVICES if each in names]:
                say(self._bring_up(SERVICES[name], place))
                if name == "postgres":
                    postgres.make_databases(place)

    def _make_folder(self, say: Callable[[str], None]) -> None:
        if self._offset not in (None, self.offset):
            raise StackError(
                f"the stack in {self.folder} has its ports at offset {self.offset}, got {self._offset}; "
                "leave --offset out, or choose another --folder"
            )
        # If the stack is root's, PostgreSQL's own user passes through this folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        before = passwords.read(self._passwords).keys()
        added = [name for name in passwords.keep(self._passwords) if name not in before]
        if before and added:  # an earlier version had fewer
            say(f"new secrets: {', '.join(added)}; in open shells: source {self.folder / 'env'}")
        certificates.keep(self.folder / "certificates")
        passwords.write_private(self.folder / "offset.json", json.dumps(self.offset))

    @property
    def _passwords(self) -> Path:
        return self.folder / "passwords"

    @property
    def _rotated(self) -> Path:
        """File that exists while the passwords are newer than the one PostgreSQL knows."""
        return self.folder / "rotated"

    def _alone(self) -> FileLock:
        return FileLock(self.folder / "lock")

    def _bring_up(self, service: Service, place: Place) -> str:
        name = service.name
        for needed in service.needs:
            if not self._healthy(SERVICES[needed], place):
                raise StackError(f"{name} needs {needed}, which is not healthy; see {self.log(needed)}")
        began = time.monotonic()
        state = self.supervisor.states()[name]
        if state["statename"] == "RUNNING":
            if self._healthy(service, place):
                return f"{name:<9} is healthy"
            if state["now"] - state["start"] > PATIENCE:  # it hangs
                state["statename"] = "STOPPED"
        if state["statename"] in DOWN:
            self.supervisor.stop(name)
            ports.check(name, {port: place.port[port] for port in service.ports})
            self.supervisor.start(name)
        self._wait(service, place)
        return f"{name:<9} healthy after {time.monotonic() - began:.1f} s"

    def _wait(self, service: Service, place: Place) -> None:
        first = self.supervisor.states()[service.name]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = self.supervisor.states()[service.name]
            if now["statename"] in DOWN or now["start"] != first["start"]:
                why = "ended" if not now["spawnerr"] else f"did not start ({now['spawnerr']})"
                break
            if self._healthy(service, place):
                return
            time.sleep(0.1)
        else:
            why = f"is not healthy after {PATIENCE} s"
        self.supervisor.stop(service.name)
        raise StackError(f"{service.name} {why}: {self._last_words(service.name)} ({self.log(service.name)})")

    def _healthy(self, service: Service, place: Place) -> bool:
        return is_healthy(service, place, plain_environment() | variables(service, place), self.root)

    def _last_words(self, name: str) -> str:
        log = self.log(name)
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def log(self, name: str) -> Path:
        """Return the log file of a service."""
        return self.folder / "logs" / f"{name}.log"

    def down(self, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Stop everything in reverse order; no process is left, and all state is kept."""
        if not self.folder.exists():
            return
        with self._alone():
            for name in reversed(SERVICES):
                if self.supervisor.states().get(name, {}).get("pid"):
                    self.supervisor.stop(name)
                    say(f"{name:<9} stopped")
            self.supervisor.shut_down()

    def rotate(self, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Replace every secret and the certificate, and restart what ran; :meth:`up` completes an interrupted call.

        Raises:
            StackError: If there is no stack, or a service does not become healthy again.
        """
        self.env()
        running = [each.name for each in self.status() if each.pid]
        self.down(say=say)
        with self._alone():
            self._rotated.touch()
            passwords.write(self._passwords, passwords.new())
            certificates.make(self.folder / "certificates")
        say(f"every secret is new; in open shells: source {self.folder / 'env'}; browsers ask for the new passwords")
        self.up(running, say=say)

    def erase(self) -> None:
        """Stop the stack, then remove its data, passwords and logs."""
        self.down()
        for folder in ((self.folder / "postgres").resolve(), Path(self.place.session).parent, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def status(self, names: Sequence[str] = tuple(SERVICES)) -> list[Status]:
        """Ask supervisord and the services themselves."""
        place, states = self.place, self.supervisor.states()
        return [
            self._status(service, place, states.get(name, {})) for name, service in SERVICES.items() if name in names
        ]

    def _status(self, service: Service, place: Place, known: Mapping[str, Any]) -> Status:
        if known.get("statename") in ("FATAL", "BACKOFF", "EXITED"):
            state = "failed"
        elif not known.get("pid"):
            state = "stopped"
        else:
            state = "healthy" if self._healthy(service, place) else "unhealthy"
        return Status(service.name, state, known.get("pid", 0), place.fill(service.url), self.log(service.name))

    def env(self) -> dict[str, str]:
        """Return the variables with which boto3, DVC, MLflow, Prefect and Ray find the stack.

        Raises:
            StackError: If the stack was never started, so that there is no password yet.
        """
        place = self.place
        if not place.secret:
            raise StackError(f"there is no stack in {self.folder}; start it with `make stack-up`")
        return {name: value for each in SERVICES.values() for name, value in place.variables(each.gives).items()}

    @contextlib.contextmanager
    def running(self, *names: str) -> Iterator["Stack"]:
        """Start services for a block, and stop them after it.

        Args:
            *names: Services to start; all if none is named.
        """
        try:
            self.up(names or tuple(SERVICES))
            yield self
        finally:
            self.down()


def _make_private(folder: Path) -> None:
    """Make a folder that others cannot enter, or check that the existing one is ours.

    Raises:
        StackError: If the folder is another user's, or open to others.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StackError(f"{folder} must be a folder of yours that others cannot enter; move it away and try again")
