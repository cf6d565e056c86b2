import subprocess
from pathlib import Path

import pytest

from protoquant.core.workspace import Workspace
from protoquant.tracking.promotion.lock_gate import lock_gate
from protoquant.tracking.runs.lineage import lock_digest

pytestmark = pytest.mark.process

LOCK = "schema: '2.0'\nstages:\n  train:\n    cmd: protoquant train\n    outs: [{path: artifacts/bundle, md5: %s}]\n"


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Workspace:
    """The workspace is a folder within a repository, with one lock committed."""
    workspace = Workspace(tmp_path / "clone" / "birds")
    workspace.root.mkdir(parents=True)
    git(workspace.root.parent, "init", "-q")
    commit(workspace, "one")
    return workspace


def commit(workspace: Workspace, md5: str) -> str:
    workspace.lock.write_text(LOCK % md5)
    git(workspace.root, "add", "-A")
    git(workspace.root, "commit", "-qm", md5)
    return git(workspace.root, "rev-parse", "HEAD")


def tags(workspace: Workspace, md5: str, commit: str = "none", dirty: str = "true") -> dict[str, str]:
    held = workspace.root / "held.lock"
    held.write_text(LOCK % md5)
    return {"lock_digest": lock_digest(held), "git_commit": commit, "git_dirty": dirty}


def test_a_lock_that_was_committed_after_register_passes(repository: Workspace) -> None:
    made = tags(repository, "two", commit=git(repository.root, "rev-parse", "HEAD"))
    refused = lock_gate(made, repository, on=True)
    assert (refused.passed, "in no commit of this repository; commit it" in refused.said) == (False, True)
    later = commit(repository, "two")
    assert lock_gate(made, repository, on=True).said == f"its dvc.lock is that of commit {later[:12]}"
    commit(repository, "three")
    assert lock_gate(made, repository, on=True).passed


def test_a_lock_on_another_branch_or_in_an_experiment_passes(repository: Workspace) -> None:
    start = git(repository.root, "rev-parse", "HEAD")
    commit(repository, "experiment")
    git(repository.root, "update-ref", "refs/exps/ab/cdef/bird", "HEAD")
    git(repository.root, "reset", "-q", "--hard", start)
    assert lock_gate(tags(repository, "experiment", start), repository, on=True).passed


@pytest.mark.parametrize("commit", ["--format={}%n# ", "--help", "-x", "a\0b"])
def test_the_commit_of_a_version_is_no_option(repository: Workspace, commit: str) -> None:
    git(repository.root, "commit", "-qm", "nothing", "--allow-empty")  # of it git shows its message alone
    forged = commit.format((LOCK % "forged").replace("\n", "%n"))
    assert not lock_gate(tags(repository, "forged", forged), repository, on=True).passed


def test_a_lock_that_is_only_edited_or_only_added_does_not_pass(repository: Workspace) -> None:
    repository.lock.write_text(LOCK % "edited")
    assert not lock_gate(tags(repository, "edited"), repository, on=True).passed
    git(repository.root, "add", "-A")
    assert not lock_gate(tags(repository, "edited"), repository, on=True).passed


def test_a_clean_tree_does_not_vouch_for_a_lock_that_git_does_not_know(repository: Workspace) -> None:
    head = git(repository.root, "rev-parse", "HEAD")
    assert not lock_gate(tags(repository, "untracked", head, dirty="false"), repository, on=True).passed


def test_a_version_of_another_clone_passes_if_nothing_was_changed_there(repository: Workspace, tmp_path: Path) -> None:
    clean, dirty = (tags(repository, "theirs", "c" * 40, dirty=dirty) for dirty in ("false", "true"))
    for where in (repository, Workspace(tmp_path)):
        assert "registered from commit cccccccccccc with nothing changed" in lock_gate(clean, where, on=True).said
        assert not lock_gate(dirty, where, on=True).passed


def test_no_lock_at_all_and_a_damaged_one_in_the_history(repository: Workspace) -> None:
    assert "made without DVC" in lock_gate({}, repository, on=True).said
    repository.lock.write_text("{damaged")
    git(repository.root, "commit", "-qam", "damaged")
    assert lock_gate(tags(repository, "one"), repository, on=True).passed
    assert lock_gate({}, repository, on=False).passed is None
