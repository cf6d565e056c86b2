"""Code as an input under real DVC: what a changed source reruns, and what it does not."""

import re

import pytest

from protoquant.pipeline.stage import Status, run_stage
from tests.workspaces import Job, stages_that_ran

pytestmark = pytest.mark.process

STEPS = ["prepare", "extract", "quantize", "train", "evaluate", "visualize"]


def stale(job: Job) -> list[str]:
    """The stages whose code is other than that of their last run."""
    job.run("protoquant", "code")
    said = job.run("dvc", "status").stdout
    return re.findall(r"modified:\s+artifacts/code/(\w+)\.json", said)


def test_comments_and_docstrings_rerun_nothing(job: Job) -> None:
    for path in (job.root / "protoquant").rglob("*.py"):
        text = path.read_text()
        path.write_text(text.replace('"""', '"""Indeed: ', 1) + "\n# a comment\n")
    said = job.run("dvc", "repro")
    assert stages_that_ran(said.stdout) == ["code", "register"]
    job.run("git", "checkout", "-q", "protoquant")


@pytest.mark.parametrize(
    ("path", "old", "new", "reached"),
    [
        ("core/artifacts.py", "SCHEMA = 1", "SCHEMA = 2", STEPS),
        ("data/checks.py", "", "LIMIT = 1\n", ["prepare"]),
        ("head/solvers/proximal.py", "", "LIMIT = 1\n", ["train"]),
        ("evaluation/metrics/calibration.py", "", "LIMIT = 1\n", ["evaluate", "visualize"]),
        ("explain/report/report.css", "", "p { margin: 0 }\n", ["visualize"]),
        ("cli/main.py", "", "LIMIT = 1\n", []),
        ("tracking/register.py", "", "LIMIT = 1\n", []),
    ],
)
def test_a_change_reruns_the_stages_that_reach_it_and_no_other(
    job: Job, path: str, old: str, new: str, reached: list[str]
) -> None:
    file = job.root / "protoquant" / path
    before = file.read_text()
    file.write_text(before.replace(old, new, 1) if old else before + new)
    assert file.read_text() != before
    try:
        assert stale(job) == reached
    finally:
        file.write_text(before)
    assert stale(job) == []


def test_a_source_that_is_no_python_is_named_in_one_line(job: Job) -> None:
    file = job.root / "protoquant" / "evaluation" / "metrics" / "calibration.py"
    before = file.read_text()
    file.write_text(before + "def broken(:\n")
    done = job.run("protoquant", "code", check=False)
    file.write_text(before)
    line = len(before.splitlines()) + 1
    assert done.returncode == 1
    assert done.stderr == f"error: {file}, line {line} is no Python: def broken(:; correct it\n"


def test_a_stage_alone_says_what_it_lacks(job: Job) -> None:
    for path in (job.root / "artifacts" / "code").glob("*.json"):
        path.unlink()
    outcome = run_stage(job.root, "prepare", environment=job.environment, on_line=lambda _: None)
    assert (outcome.status, outcome.passing) == (Status.FAILED, False)
    assert outcome.reason == "artifacts/code is missing; run the stage that writes it first: dvc repro code"
    job.run("dvc", "repro", "code")
    again = run_stage(job.root, "prepare", environment=job.environment, on_line=lambda _: None)
    assert again.status is Status.RESTORED, "DVC removes what a stage wrote before it looks for what it lacks"


def test_experiments_aside_and_applied_find_the_code(job: Job) -> None:
    """In a folder of DVC's own, where artifacts/code is not."""
    job.run("git", "add", "dvc.lock", "artifacts/metrics.json")
    job.run("git", "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-q", "-m", "run")
    job.run("dvc", "exp", "run", "--temp", "--name=small", "-S", "visualize.right=1", "visualize")
    job.run("dvc", "exp", "apply", "small")
    assert "right: 1" in (job.root / "params.yaml").read_text()
    assert stages_that_ran(job.run("dvc", "repro", "visualize").stdout) == ["code"]
    job.run("dvc", "exp", "save", "--name=kept")
    assert "kept" in job.run("dvc", "exp", "list").stdout
