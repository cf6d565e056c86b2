"""A small clone with real git and DVC, whose stages are one-line commands."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DVC_YAML = """\
stages:
  first:
    cmd: python step.py first
    deps: [step.py]
    params: [seed]
    outs: [artifacts/first]
  second:
    cmd: python step.py second
    deps: [step.py, artifacts/first]
    params: [train.tolerance]
    outs: [artifacts/second]
  last:
    cmd: python step.py last
    deps: [artifacts/second]
    always_changed: true
"""
STEP = """\
import pathlib, sys
name = sys.argv[1]
if pathlib.Path("fail").exists() and name == "second":
    sys.exit(print("error: the data is bad", file=sys.stderr) or 1)
print("work:", name)
if name != "last":
    out = pathlib.Path("artifacts", name)
    out.parent.mkdir(exist_ok=True)
    out.write_text(name + pathlib.Path("params.yaml").read_text())
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, programs: Path) -> Callable[..., str]:
    """Run a command in a folder and return what it prints."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)

    def run(folder: Path, *words: str) -> str:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def clone(tmp_path: Path, call: Callable[..., str]) -> Path:
    """A committed project with two stages that have outputs and one that always runs."""
    root = tmp_path / "home" / "clone"
    root.mkdir(parents=True)
    call(root, "git", "init", "-q")
    call(root, "dvc", "init", "-q")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "step.py").write_text(STEP)
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (root / "data").mkdir()
    (root / "data" / "partbirds.yaml").write_text("classes: 2\n")
    (root / ".gitignore").write_text("artifacts/\nphotos/\nfail\n__pycache__/\n")
    call(root, "git", "config", "user.name", "n")
    call(root, "git", "config", "user.email", "e@e")
    call(root, "git", "add", "-A")
    call(root, "git", "commit", "-qm", "start")
    return root


def tree_of(root: Path) -> dict[str, str]:
    """Every file outside ``.git`` and DVC's own folders, with its content."""
    return {
        path.relative_to(root).as_posix(): json.dumps(path.read_bytes().decode("latin-1"))
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.relative_to(root).as_posix().startswith((".git/", ".dvc/tmp", ".dvc/cache"))
    }
