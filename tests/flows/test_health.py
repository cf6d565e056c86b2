"""The runner says that it works in a file, and opens no port for it."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from flows.health import LIMIT, trouble
from tests.flows.served import Served, wait_for

MISSING = "has not looked for runs; start it (make stack-up, or make serve), or correct PREFECT_API_URL"


@pytest.mark.parametrize(
    ("pid", "age", "said"),
    [
        (None, 0.0, ""),
        (None, LIMIT + 1, f"last looked for runs {LIMIT + 1:.0f} s ago"),
        (2**22 + 1, 0.0, f"is gone (its process was {2**22 + 1})"),
        ("", 0.0, MISSING),
    ],
)
def test_what_the_file_tells(tmp_path: Path, pid: object, age: float, said: str) -> None:
    file = tmp_path / "heartbeat"
    file.write_text(str(os.getpid() if pid is None else pid))
    assert trouble(file, file.stat().st_mtime + age) == said
    assert trouble(tmp_path / "missing", 0.0) == MISSING


@pytest.mark.server
def test_the_command_asks_the_runner_of_its_server(served: Served) -> None:
    def ask(**variables: str) -> tuple[int, str]:
        words = [served.job.programs / "warm-python", "-m", "flows.health"]
        environment = {**served.job.environment, **served.variables, **variables}
        done = subprocess.run(words, cwd=served.job.root, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    wait_for(lambda: ask()[0] == 0, "the runner's first look for runs", 60)
    assert ask() == (0, f"the runner of {served.job.root} for {served.api} works\n")
    code, said = ask(PREFECT_API_URL="http://127.0.0.1:9/api")
    assert (code, said.count("\n")) == (1, 1)
    assert MISSING in said


@pytest.mark.server
def test_no_port_of_the_runner_takes_orders(served: Served) -> None:
    assert served.runner is not None
    process = psutil.Process(served.runner.pid)
    listening = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    # Prefect's channel to the processes of runs, which asks for a token of each.
    assert len(listening) <= 1
    assert all(one.laddr.ip == "127.0.0.1" for one in listening)


@pytest.mark.server
@pytest.mark.parametrize(("secret", "why"), [("wrong", "wrong"), ("", "not set")])
def test_a_wrong_secret_is_one_line(served: Served, secret: str, why: str) -> None:
    environment = {**served.job.environment, **served.variables, "PREFECT_API_AUTH_STRING": secret}
    if not secret:
        del environment["PREFECT_API_AUTH_STRING"]
    done = subprocess.run(
        [served.job.programs / "warm-python", "-m", "flows.serve"],
        cwd=served.job.root, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"error: the Prefect server at {served.api} refuses: PREFECT_API_AUTH_STRING is {why}; "
        "for the stack: source .stack/env"
    )
