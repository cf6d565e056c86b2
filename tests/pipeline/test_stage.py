"""Stages of a small project under real DVC: what became of each, and why."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.pipeline.graph import Stage, stages
from protoquant.pipeline.stage import Outcome, Status, _OutputParser, run_command, run_stage

pytestmark = pytest.mark.process


def status(root: Path, name: str, lines: list[str] | None = None) -> Outcome:
    return run_stage(root, name, environment=dict(os.environ), on_line=(lines if lines is not None else []).append)


def test_the_graph_comes_from_dvc(clone: Path) -> None:
    assert stages(clone) == (Stage("first", ()), Stage("second", ("first",)), Stage("last", ("second",)))


def test_the_graph_of_the_project_itself() -> None:
    names = [stage.name for stage in stages(Path(__file__).parents[2])]
    assert names == ["code", "prepare", "extract", "quantize", "train", "evaluate", "visualize", "register"]


def test_no_pipeline_is_one_sentence(clone: Path) -> None:
    (clone / "dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(UsageError, match="DVC cannot read the pipeline"):
        stages(clone)


def test_ran_unchanged_restored(clone: Path, call: Callable[..., str]) -> None:
    lines: list[str] = []
    assert status(clone, "first", lines) == Outcome(Status.RAN)
    assert "work: first" in lines
    assert status(clone, "first") == Outcome(Status.UNCHANGED)
    (clone / "artifacts" / "first").unlink()
    call(clone, "git", "checkout", "-q", ".")
    (clone / "dvc.lock").unlink()
    assert status(clone, "first") == Outcome(Status.RESTORED)


def test_a_stage_whose_name_looks_like_an_option_runs(clone: Path) -> None:
    dvc_yaml = (clone / "dvc.yaml").read_text()
    (clone / "dvc.yaml").write_text(dvc_yaml + "  --help:\n    cmd: python step.py help\n    outs: [artifacts/help]\n")
    assert status(clone, "--help") == Outcome(Status.RAN)
    assert (clone / "artifacts" / "help").exists()


def test_a_value_that_no_command_takes_is_one_sentence(clone: Path) -> None:
    outcome = run_command(["echo", "a\0b"], clone, environment=dict(os.environ), on_line=print)
    assert outcome == Outcome(Status.FAILED, r"'a\x00b' holds a NUL character, which no command takes; leave it out")


def test_a_record_that_another_run_took_away_is_asked_for_again(clone: Path) -> None:
    status(clone, "first")
    (clone / "artifacts" / "first").unlink()
    (clone / "dvc.lock").unlink()
    (records,) = (clone / ".dvc" / "cache" / "runs").glob("*/*")
    passing = records / "half-written.tmp"
    passing.symlink_to("nowhere")
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.append(line)
        passing.unlink(missing_ok=True)

    assert run_stage(clone, "first", environment=dict(os.environ), on_line=hear) == Outcome(Status.RESTORED)
    assert "half-written.tmp" in heard[0]


def test_a_record_that_stays_unreadable_fails(clone: Path) -> None:
    status(clone, "first")
    (clone / "dvc.lock").unlink()
    (records,) = (clone / ".dvc" / "cache" / "runs").glob("*/*")
    (records / "half-written.tmp").symlink_to("nowhere")
    heard: list[str] = []
    assert status(clone, "first", heard).status is Status.FAILED
    assert len(heard) == 3, heard


def test_a_failure_gives_the_stages_own_reason(clone: Path) -> None:
    status(clone, "first")
    (clone / "fail").touch()
    assert status(clone, "second") == Outcome(Status.FAILED, "the data is bad", passing=False)


def test_what_may_pass_is_told_by_the_exit_code(clone: Path) -> None:
    away = "import sys; sys.exit(print('error: no answer from http://x', file=sys.stderr) or 75)"
    (clone / "step.py").write_text(away)
    assert status(clone, "first") == Outcome(Status.FAILED, "no answer from http://x", passing=True)


def test_dvcs_own_reason_where_the_stage_did_not_run(clone: Path) -> None:
    (clone / "step.py").unlink()
    outcome = status(clone, "first")
    assert outcome.status is Status.FAILED
    assert "step.py" in outcome.reason
    assert not outcome.passing


@pytest.mark.parametrize(
    ("lines", "code", "reason", "passing"),
    [
        (["ERROR: Unable to acquire lock. Most likely another DVC process is running"], 255, "Unable to acq", True),
        (["ERROR: '/a/dvc.lock' is busy, it is being blocked by:"], 255, "'/a/dvc.lock' is busy", True),
        (["ERROR: failed to reproduce 'first'"], 255, "failed to reproduce 'first'", False),
        (["error: no answer", "ERROR: failed to run: python x, exited with 75"], 255, "no answer", True),
        (["error: bad data", "ERROR: failed to run: python x, exited with 1"], 255, "bad data", False),
        (["work: first"], 137, "stopped by signal 9", False),
        (["error: out of memory"], 137, "out of memory", False),
        (["work: first"], 75, "work: first", True),
        ([], 1, "DVC said nothing", False),
    ],
)
def test_what_dvc_says_and_its_exit_code_tell_the_outcome(
    lines: list[str], code: int, reason: str, passing: bool
) -> None:
    listener = _OutputParser(lambda _: None)
    for line in lines:
        listener(line)
    outcome = listener.outcome(code)
    assert (outcome.status, outcome.passing) == (Status.FAILED, passing)
    assert outcome.reason.startswith(reason)
