"""Isolated runs of a small project, with real git and DVC."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError, ProtoQuantError, UnavailableError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.pipeline import lease as leases
from protoquant.pipeline.graph import stages
from protoquant.pipeline.isolated_run import RunSpec, isolated, run_name
from protoquant.pipeline.retention import kept_runs, prune_runs
from protoquant.pipeline.stage import Status
from tests.pipeline.conftest import tree_of

pytestmark = pytest.mark.process

Call = Callable[..., str]


def go(clone: Path, plan: RunSpec) -> dict[str, Status]:
    """Run all stages and record them."""
    said: list[str] = []
    with isolated(clone, plan) as run:
        found = {stage.name: run.stage(stage.name, said.append) for stage in stages(run.root)}
        assert all(not outcome.reason for outcome in found.values()), said
        assert run.record(said.append).status is Status.RAN, said
        run.discard()
    return {name: outcome.status for name, outcome in found.items()}


def test_a_run_leaves_the_clone_as_it_was_and_an_experiment(clone: Path, call: Call) -> None:
    before = tree_of(clone), call(clone, "git", "status", "--porcelain")
    assert go(clone, RunSpec("one-1", {"train.tolerance": 0.05})) == dict.fromkeys(
        ["first", "second", "last"], Status.RAN
    )
    assert (tree_of(clone), call(clone, "git", "status", "--porcelain")) == before
    assert "one-1" in call(clone, "dvc", "exp", "list")
    assert kept_runs(clone) == []
    again = go(clone, RunSpec("two-2", {"train.tolerance": 0.05}))
    assert again == {"first": Status.RESTORED, "second": Status.RESTORED, "last": Status.RAN}
    other = go(clone, RunSpec("three-3", {"train.tolerance": 0.06}))
    assert other == {"first": Status.RESTORED, "second": Status.RAN, "last": Status.RAN}
    call(clone, "dvc", "exp", "apply", "three-3")
    assert "tolerance: 0.06" in (clone / "params.yaml").read_text()


def test_three_at_once_do_not_meet(clone: Path, call: Call) -> None:
    before = tree_of(clone)
    ended: dict[str, object] = {}

    def one(number: int) -> None:
        try:
            ended[f"r-{number}"] = go(clone, RunSpec(f"r-{number}", {"train.tolerance": 0.02 * number}))
        except BaseException as error:  # noqa: BLE001
            ended[f"r-{number}"] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(found, dict) for found in ended.values()), ended
    listed = call(clone, "dvc", "exp", "list")
    assert all(name in listed for name in ("r-1", "r-2", "r-3"))
    assert tree_of(clone) == before


def test_a_run_that_failed_continues_where_it_stopped(clone: Path) -> None:
    plan = RunSpec("again-1", {})
    with isolated(clone, plan) as run:
        assert not run.continued
        assert run.stage("first", print).status is Status.RAN
        (run.root / "fail").touch()
        assert run.stage("second", print).reason == "the data is bad"
    with isolated(clone, plan) as run:
        assert run.continued
        (run.root / "fail").unlink()
        assert run.stage("first", print).status is Status.UNCHANGED
        assert run.stage("second", print).status is Status.RAN


def test_the_worktrees_own_code_and_the_clones_own_stores(clone: Path) -> None:
    (clone / "who.py").write_text("NAME = 'clone'\n")
    with isolated(clone, RunSpec("code-1", {})) as run:
        (run.root / "who.py").write_text("NAME = 'worktree'\n")
        lines: list[str] = []
        script = "import os, who; print(who.NAME, os.environ['MLFLOW_TRACKING_URI'])"
        assert run.call("python", "-c", script, on_line=lines.append) == 0
        assert lines == [f"worktree sqlite:///{clone.resolve()}/mlflow.db"]


def test_edits_are_refused_taken_or_left_by_choice(clone: Path, call: Call) -> None:
    call(clone, "dvc", "repro", "-q")  # writes dvc.lock, which is no edit of anyone
    (clone / "step.py").write_text((clone / "step.py").read_text() + "# edited\n")
    refused = r"step\.py in .* differ from the commit; commit them, or choose uncommitted"
    with pytest.raises(UsageError, match=refused), isolated(clone, RunSpec("no-1", {})):
        pass
    with isolated(clone, RunSpec("take-1", {}, uncommitted="take")) as run:
        assert "# edited" in (run.root / "step.py").read_text()
    with isolated(clone, RunSpec("leave-1", {}, uncommitted="leave")) as run:
        assert "# edited" not in (run.root / "step.py").read_text()
    call(clone, "git", "tag", "old")
    call(clone, "git", "commit", "-qam", "edited")
    with isolated(clone, RunSpec("old-1", {}, revision="old")) as run:
        assert "# edited" not in (run.root / "step.py").read_text()
    nowhere = RunSpec("no-2", {}, revision="nowhere")
    with pytest.raises(UsageError, match="'nowhere' names no commit"), isolated(clone, nowhere):
        pass


def test_photos_outside_git_are_there(clone: Path) -> None:
    for folder in (clone / "photos", clone.parent / "photos"):
        (folder / "robin").mkdir(parents=True)
        (folder / "robin" / "a.png").write_text(folder.parent.name)
    for name, root, holds in (("in-1", "photos", "clone"), ("out-1", "../photos", "home")):
        changes = {"prepare.root": root, "prepare.reader": "image_folder"}
        with isolated(clone, RunSpec(name, changes)) as run:
            assert run.settings.prepare.root == root
            assert (run.root / root / "robin" / "a.png").read_text() == holds


@pytest.mark.parametrize("revision", ["--help", "-x", "--all", "--git-dir=x", "^HEAD", "HEAD..HEAD", "a\0b", "H\n", ""])
def test_a_revision_is_no_option_and_names_one_commit(clone: Path, revision: str) -> None:
    sentence = re.escape(f"revision: {revision!r} names no commit of {clone}; give a branch, a tag or a commit")
    plan = RunSpec("no-1", {}, revision=revision)
    with pytest.raises(UsageError, match=f"^{sentence}$"), isolated(clone, plan):
        pass


@pytest.mark.parametrize("name", ["--help", "-x", "..", "../other", "", "a/b", "a\n"])
def test_the_name_of_a_run_is_no_option_and_no_path(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"begins with a letter or digit, got {name!r}")):
        RunSpec(name, {})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train.tolerence": 0.1}, "unknown key 'train.tolerence'; did you mean 'tolerance'?"),
        ({"trian.tolerance": 0.1}, "unknown key 'trian'; did you mean 'train'?"),
        ({"train.tolerance": 3}, "train.tolerance must be a number >= 0.0 and <= 1.0, got 3"),
        ({"seed.x": 3}, "seed is a value and has no key below it"),
        ({"prepare.root": "nowhere"}, "there is no nowhere"),
    ],
)
def test_impossible_parameters_are_one_sentence(clone: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ProtoQuantError) as error, isolated(clone, RunSpec("bad-1", changes)):
        pass
    assert sentence in str(error.value)
    assert isinstance(error.value, ConfigError | UsageError)
    assert not (Workspace(clone).runs / "bad-1" / "run.json").exists(), "the next of this name is begun anew"


def test_the_clones_dvc_configuration_is_in_force(clone: Path, call: Call) -> None:
    call(clone, "dvc", "remote", "add", "-q", "--local", "-d", "store", "../../store")
    call(clone, "dvc", "cache", "dir", "-q", "--local", "../other-cache")
    with isolated(clone, RunSpec("config-1", {})) as run:
        call(run.root, "dvc", "repro", "-q", "first")
        call(run.root, "dvc", "push", "-q")
    assert any((clone.parent.parent / "store").rglob("*"))
    assert any((clone.parent / "other-cache").rglob("*"))


def test_a_run_in_use_is_neither_taken_nor_pruned(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PATIENCE", 0.0)
    with isolated(clone, RunSpec("used-1", {})) as run:
        assert [kept.in_use for kept in kept_runs(clone)] == [True]
        assert prune_runs(clone, max_age=0, keep=0) == []
        with pytest.raises(UnavailableError, match="in use"), leases.lease(run.folder, patience=0):
            pass
    assert [kept.in_use for kept in kept_runs(clone)] == [False]


def test_old_runs_go_by_age_and_by_number(clone: Path) -> None:
    for number in (1, 2, 3):
        with isolated(clone, RunSpec(f"kept-{number}", {})) as run:
            folder = run.folder
        os.utime(folder / "lease", (1000.0 + number, 1000.0 + number))
    assert [run.name for run in prune_runs(clone, max_age=1e12, keep=2)] == ["kept-1"]
    assert [run.name for run in prune_runs(clone, max_age=60, keep=9)] == ["kept-2", "kept-3"]
    assert kept_runs(clone) == []


def test_names_that_git_takes() -> None:
    assert run_name("mighty otter / 3!", "01a2b3c4-xyz") == "mighty-otter-3-01a2b3c4"
    assert run_name("../..", "01a2b3c4-xyz") == "run-01a2b3c4"
