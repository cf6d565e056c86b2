import subprocess
from pathlib import Path

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.tracking.runs.lineage import git_state, lineage, lock_digest

pytestmark = pytest.mark.process

LOCK = """schema: '2.0'
stages:
  prepare:
    cmd: protoquant prepare
    outs:
    - path: artifacts/images
      md5: 0123
  train:
    cmd: protoquant train
"""
REORDERED = """stages:
  train: {cmd: protoquant train}
  prepare: {outs: [{md5: 0123, path: artifacts/images}], cmd: protoquant prepare}
  register: {cmd: protoquant register}
schema: '2.0'
"""


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    call = ["git", *identity, *arguments]
    return subprocess.run(call, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_tree(repository: Path):
    assert git_state(repository) == (git(repository, "rev-parse", "HEAD"), "false")


def test_a_changed_tracked_file_makes_the_tree_dirty(repository: Path):
    (repository / "code.py").write_text("2\n")
    assert git_state(repository)[1] == "true"


def test_a_staged_change_makes_the_tree_dirty(repository: Path):
    (repository / "code.py").write_text("2\n")
    git(repository, "add", ".")
    assert git_state(repository)[1] == "true"


def test_an_untracked_file_does_not_make_the_tree_dirty(repository: Path):
    (repository / "photo.jpg").write_text("")
    assert git_state(repository)[1] == "false"


def test_outside_git_and_before_the_first_commit_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == ("none", "none")
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == ("none", "none")


def test_without_git_there_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == ("none", "none")


def test_the_lock_digest_follows_the_content_of_the_upstream_stages_only(tmp_path: Path):
    one, other, changed = tmp_path / "one", tmp_path / "other", tmp_path / "changed"
    one.write_text(LOCK)
    other.write_text(REORDERED)
    changed.write_text(LOCK.replace("0123", "0124"))
    assert lock_digest(one) == lock_digest(other)
    assert lock_digest(one) != lock_digest(changed)
    assert len(lock_digest(one)) == 64


def test_without_dvc_there_is_no_lock_digest(tmp_path: Path):
    assert lock_digest(tmp_path / "dvc.lock") == "none"


@pytest.mark.parametrize("text", ["", "a: [", "stages: 3\n", "- 1\n"])
def test_a_damaged_lock_is_an_error(tmp_path: Path, text: str):
    lock = tmp_path / "dvc.lock"
    lock.write_text(text)
    with pytest.raises(ArtifactError, match=r"dvc\.lock is damaged: no stages in it"):
        lock_digest(lock)


def test_the_lineage_names_every_source(workspace: Workspace):
    found = lineage(workspace, weight_digest="w")
    assert found.tags() == {
        "git_commit": found.git_commit,
        "git_dirty": found.git_dirty,
        "data_digest": artifact_digest(workspace.images),
        "weight_digest": "w",
        "bundle_digest": artifact_digest(workspace.bundle),
        "evaluation_digest": artifact_digest(workspace.evaluation),
        "lock_digest": "none",
    }
    assert {"numpy", "torch", "timm"} <= found.packages.keys()
