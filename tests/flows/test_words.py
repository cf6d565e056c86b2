"""What a form holds never becomes an option of the verb that a flow runs; shown with the real verbs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.evaluate_model import Evaluation
from flows.form import SweepOptions
from flows.promote import Candidate
from tests.workspaces import ROOT, Job

pytestmark = pytest.mark.process
Said = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def said(programs: Path, tmp_path: Path) -> Said:
    """Run a verb in an empty folder; returns its exit code and all that it printed."""

    def run(words: list[str]) -> tuple[int, str]:
        job = Job(tmp_path, programs)
        job.environment |= {"COLUMNS": "300", "PYTHONPATH": str(ROOT)}
        done = job.run(*words, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("root", ["--help", "-x", "--json", "--out=elsewhere", "--"])
def test_the_data_set_of_an_evaluation_is_no_option(said: Said, tmp_path: Path, root: str) -> None:
    words = Evaluation(model="models:/--help/1", root=root, split="test").words(tmp_path / "out")
    sentence = f"error: prepare.root: there is no {root} (params.yaml); correct the path, relative to this folder\n"
    assert said(words) == (2, sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", ["--help", "-x", "--json", "--"])
def test_the_reason_of_a_promotion_is_no_option(said: Said, tmp_path: Path, reason: str) -> None:
    (tmp_path / "params.yaml").touch()
    code, text = said(Candidate(force=reason).words("models:/--help/1"))
    assert (code, "Usage" in text, text.count("\n")) == (1, False, 1), text
    assert "there is no store" in text or "no model registry" in text, text


@pytest.mark.parametrize("name", ["--help", "-x"])
def test_the_name_of_a_sweep_is_no_option(said: Said, name: str) -> None:
    with pytest.raises(ValidationError, match="sweep"):
        SweepOptions(sweep=name)
    code, text = said(["protoquant", "sweep", "run", "--", name])
    assert (code, "Usage" in text, name in text) == (2, False, True), text
