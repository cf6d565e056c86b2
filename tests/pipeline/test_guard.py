"""The guard with real processes: nothing that it started outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from protoquant.pipeline import guard
from protoquant.pipeline.process import run

pytestmark = pytest.mark.process

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: open(sys.argv[1] + ".int", "w").close())
signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1] + ".term", "w").close())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {child.pid} {away.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
end = time.time() + 600
while time.time() < end:
    time.sleep(1)
"""


def wait_for(ready: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)


def started(pids: Path) -> list[psutil.Process]:
    wait_for(pids.exists)
    return [psutil.Process(int(pid)) for pid in pids.read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)


def test_lines_and_exit_code_come_through(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(7)"
    code = run([sys.executable, "-c", script], cwd=tmp_path, environment=dict(os.environ), on_line=lines.append)
    assert (code, lines) == (7, ["out", "err"])


def test_a_caller_that_is_killed_takes_all_along(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    caller = (
        "import os, sys; from pathlib import Path; from protoquant.pipeline.process import run;"
        "run([sys.executable, 'stubborn.py', 'pids'], cwd=Path('.'), environment=dict(os.environ), on_line=print)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(guard.__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=tmp_path, env=environment)
    family = started(pids)
    process.kill()
    process.wait()
    wait_for(lambda: gone(family))
    assert (tmp_path / "pids.int").exists(), "INT comes first"
    assert (tmp_path / "pids.term").exists(), "then TERM"


def test_an_exception_in_the_caller_ends_the_command(tmp_path: Path) -> None:
    seen: list[int] = []

    def listen(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    script = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", script], cwd=tmp_path, environment=dict(os.environ), on_line=listen)
    assert not psutil.pid_exists(seen[0])


def test_a_command_that_leaves_children_behind_leaves_none(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid)"
    )
    lines: list[str] = []
    assert run([sys.executable, "-c", script], cwd=tmp_path, environment=dict(os.environ), on_line=lines.append) == 0
    wait_for(lambda: not psutil.pid_exists(int(lines[0])) or psutil.Process(int(lines[0])).status() == "zombie")


def test_a_signal_that_ended_the_command_is_told_as_a_shell_does(tmp_path: Path) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    code = run([sys.executable, "-c", script], cwd=tmp_path, environment=dict(os.environ), on_line=print)
    assert code == 128 + signal.SIGKILL
