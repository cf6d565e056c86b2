"""The committed dvc.lock is that of the committed sources and params."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git clone")
def test_the_lock_is_of_these_sources() -> None:
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "params.yaml"], cwd=ROOT, check=False).returncode
    if changed:
        pytest.skip("params.yaml was edited; the lock is of the committed one")
    bin_ = Path(sys.executable).parent
    subprocess.run([bin_ / "protoquant", "code"], cwd=ROOT, check=True)
    done = subprocess.run([bin_ / "dvc", "status", "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    stale = {
        stage: change
        for stage, changes in json.loads(done.stdout).items()
        for change in changes
        if isinstance(change, dict)
        for kind, found in change.items()
        for name, state in found.items()
        if kind in ("changed deps", "changed params", "changed command")
        if not (name.startswith("artifacts/") and state == "deleted")
    }
    assert not stale, "run `dvc repro` and commit dvc.lock"
