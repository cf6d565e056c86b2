"""The verbs prune and study, from a folder with params.yaml as a user has it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.errors import DataError, UsageError
from protoquant.model.bundle import Bundle

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(path, features, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Path:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    path.rename(artifacts / "bundle")
    features.rename(artifacts / "features")
    text = (ROOT / "params.yaml").read_text().replace("threads: 2", "threads: 1")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROTOQUANT_DEVICE", "cpu")
    return tmp_path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_prune_writes_a_bundle_a_table_and_a_figure(workspace) -> None:
    (workspace / "plan.yaml").write_text("unit: class_budget\ncriterion: magnitude\nbudget: 1\n")
    said = call("prune", "plan.yaml")
    assert "pruned: validation top-1" in said
    assert "taken" in said
    assert Bundle.open(workspace / "artifacts" / "pruned").metrics["class_size"] <= 1
    assert (workspace / "artifacts" / "pruned.png").is_file()


def test_a_plan_that_is_wrong_stops_before_any_work(workspace) -> None:
    (workspace / "plan.yaml").write_text("unit: class_budget\n")
    result = CliRunner().invoke(app, ["prune", "plan.yaml"])
    assert result.exit_code == UsageError.exit_code
    assert "unit class_budget needs budget (plan.yaml)" in result.output
    assert not (workspace / "artifacts" / "pruned").exists()


def test_prune_refuses_a_budget_that_removes_nothing(workspace) -> None:
    (workspace / "plan.yaml").write_text("unit: class_budget\ncriterion: magnitude\nbudget: 99\n")
    result = CliRunner().invoke(app, ["prune", "plan.yaml"], env={"COLUMNS": "200"})
    assert result.exit_code == DataError.exit_code
    assert "the weights of the largest class, got 99; lower it" in result.output
    assert not (workspace / "artifacts" / "pruned").exists()


def test_study_says_who_wins_where(workspace) -> None:
    (workspace / "study.yaml").write_text("ratios: [0.3]\nresamples: 2\ntuners: [refit]\nbudgets: [1]\n")
    said = call("study", "study.yaml", "--test")
    assert "published (arXiv 2508.13836)" in said
    assert "refit, iterative against one_shot" in said
    assert (workspace / "artifacts" / "study" / "study.png").is_file()
    assert "test_top1" in (workspace / "artifacts" / "study" / "runs.csv").read_text().splitlines()[0]
    assert "test_top1" not in call("study", "study.yaml", "--out", "artifacts/other")
    assert "test_top1" not in (workspace / "artifacts" / "other" / "runs.csv").read_text().splitlines()[0]
