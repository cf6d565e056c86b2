"""The whole stack, a small clone and its runner; run by ``make test-faults``."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.stack.stack import Stack
from protoquant.settings.params_file import override
from tests.flows.served import Served, wait_for
from tests.workspaces import Job, small_clone

OFFSET = 3000


@dataclass
class Platform:
    """A stack and the clone that its runner serves."""

    stack: Stack
    served: Served

    @property
    def job(self) -> Job:
        """The clone, whose commands meet the stack."""
        return self.served.job

    def stop(self, service: str) -> None:
        """Stop a service; the others go on."""
        self.stack.supervisor.stop(service)

    def kill_runner(self) -> None:
        """``kill -9`` of the runner's process; supervisord starts another."""
        pid = next(one.pid for one in self.stack.status(["runner"]))
        os.kill(pid, 9)
        wait_for(lambda: self.stack.status(["runner"])[0].pid not in (0, pid), "the next runner")

    def heal(self) -> None:
        """Start what is down."""
        self.stack.up()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Platform]:
    """All services, and a committed clone with a small data set."""
    folder = tmp_path_factory.mktemp("platform", numbered=True)
    job = small_clone(folder / "clone", programs)
    stack = Stack(folder / "stack", offset=OFFSET, root=job.root)
    try:
        stack.up()
        job.environment |= stack.env()
        served = Served(job, stack.env(), folder / "stack" / "logs" / "runner.log")
        wait_for(lambda: served.deployment("experiment"), "the deployment", 90)
        with pytest.MonkeyPatch.context() as patch:  # MLflow's clients of the tests themselves
            for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
                patch.setenv(name, stack.env()[name])
            yield Platform(stack, served)
    finally:
        stack.erase()


def undisturbed(job: Job, folder: Path, changes: dict[str, object]) -> dict[str, str]:
    """The digest of every stage's outputs after a plain ``dvc repro`` of a copy with a cache of its own."""
    subprocess.run(["git", "clone", "-q", str(job.root), str(folder)], check=True)
    other = Job(folder, job.programs)
    other.environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    override(folder / "params.yaml", changes)
    other.run("dvc", "repro")
    found = digests(other.run("cat", "dvc.lock").stdout)
    shutil.rmtree(folder)
    return found


def digests(lock: str) -> dict[str, str]:
    """The outputs of a dvc.lock and their hashes."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(lock)["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
