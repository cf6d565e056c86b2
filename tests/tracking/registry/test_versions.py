import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.promotion.registry_lock import promoting
from protoquant.tracking.registry.versions import Named, _links, describe, list_versions
from tests.builders.versions import Made, add, files_of

pytestmark = pytest.mark.server

GATES = "gates: {export: false, lock: false}\n"


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


@pytest.fixture
def call(with_store: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    from protoquant.cli.main import app

    with_store.params.write_text(f"register: {{name: birds}}\n{GATES}")
    monkeypatch.chdir(with_store.root)
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *words: CliRunner().invoke(app, ["registry", *words])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("birds", Named("birds", "challenger", None)),
        ("models:/birds", Named("birds", "challenger", None)),
        ("models:/birds@champion", Named("birds", "champion", None)),
        ("birds@champion", Named("birds", "champion", None)),
        ("models:/birds/3", Named("birds", None, 3)),
        ("birds/3", Named("birds", None, 3)),
    ],
)
def test_a_version_is_named_in_three_ways(text: str, named: Named) -> None:
    assert Named.parse(text) == named


@pytest.mark.parametrize("text", ["models:/birds/latest", "runs:/ab/model", "", "birds/3/4", "birds@a@b"])
def test_other_names_are_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected NAME, models:/NAME@ALIAS or models:/NAME/VERSION, got"):
        Named.parse(text)


def test_a_version_is_described_from_its_tags_its_run_and_its_files(
    store: Store, with_store: Workspace, tmp_path: Path
) -> None:
    metrics = {"evaluate.test.top1.low": 0.85, "evaluate.test.top1.high": 0.94, "evaluate.size.class_size": 2.5}
    add(store, tmp_path / "one", replace(Made(), metrics=metrics), git_commit="c" * 40, git_dirty="true")
    (found,) = list_versions(store, with_store, "birds")
    assert (found.name, found.version, found.aliases) == ("birds", 1, ("challenger",))
    assert found.accuracy["test"] == {"value": 0.9, "low": 0.85, "high": 0.94, "n": None}
    assert found.accuracy["validation"]["value"] == 0.95
    assert (found.class_size, found.verdict, found.archived, found.whole) == (2.5, None, None, True)
    assert found.git == {"commit": "c" * 40, "dirty": "true"}
    assert len(found.digests["bundle"]) == 64
    assert found.links.run is None
    assert json.loads(json.dumps(found.to_dict()))["gates"] is None


def test_all_models_are_listed_without_the_locks(store: Store, with_store: Workspace, tmp_path: Path) -> None:
    add(store, tmp_path / "one")
    add(store, tmp_path / "two", replace(Made(), cosine=0.5))
    add(store, tmp_path / "fish", name="fish")
    with promoting(store, "birds"):
        found = list_versions(store, with_store, None)
    assert [(each.name, each.version) for each in found] == [("birds", 1), ("birds", 2), ("fish", 1)]
    assert [each.aliases for each in found] == [(), ("challenger",), ("challenger",)]


def test_a_run_that_is_gone_and_a_verdict_that_cannot_be_read_leave_the_rest(
    store: Store, with_store: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protoquant.tracking.connection.mlflow_api import MlflowException

    add(store, tmp_path / "one", gates="{damaged")

    def gone(run_id: str) -> None:
        raise MlflowException("no run")

    monkeypatch.setattr(store.client, "get_run", gone)
    found = describe(store, with_store, store.client.get_model_version("birds", "1"))
    assert (found.gates, found.class_size, found.accuracy["test"]["low"]) == (None, None, None)


def test_a_server_has_pages_and_a_file_has_none() -> None:
    version = SimpleNamespace(name="birds", version="3", run_id="ab")
    run = SimpleNamespace(info=SimpleNamespace(experiment_id="1"))
    view = "?workflowType=machine_learning"
    found = _links("https://me:secret@host:5000/", version, run)
    assert vars(found) == {
        "run": f"https://host:5000/#/experiments/1/runs/ab{view}",
        "version": f"https://host:5000/#/models/birds/versions/3{view}",
        "report": f"https://host:5000/#/experiments/1/runs/ab/artifacts/report/index.html{view}",
    }
    gone = _links("http://host:5000", version, None)
    assert (gone.run, gone.version, gone.report) == (None, f"http://host:5000/#/models/birds/versions/3{view}", None)
    assert set(vars(_links("sqlite:///mlflow.db", version, run)).values()) == {None}


def test_the_verbs_tell_the_life_of_a_version(store: Store, call: Callable[..., Result], tmp_path: Path) -> None:
    add(store, tmp_path / "one")
    add(store, tmp_path / "two", replace(Made(), wrong=9))
    add(store, tmp_path / "three", replace(Made(), cosine=0.85))
    assert call("promote", "models:/birds/1").exit_code == 0
    refused = call("promote", "models:/birds/2")
    assert refused.exit_code == 1
    assert "REFUSED │ accuracy 0.9500 -> 0.7750" in refused.stdout
    assert refused.stderr.splitlines()[-1] == (
        "error: version 2 of birds is refused by accuracy, calibration; the champion stays version 1"
    )
    assert call("promote").exit_code == 0  # the challenger of params.yaml
    listed = {row["version"]: row for row in json.loads(call("list", "birds", "--json").stdout)}
    assert [listed[number]["verdict"] for number in (1, 2, 3)] == [
        "passed", "refused by accuracy, calibration", "passed"
    ]  # fmt: skip
    assert listed[3]["aliases"] == ["challenger", "champion"]
    shown = call("show", "models:/birds/2")
    assert "version 2 against the champion, version 1" in shown.stdout
    assert "McNemar p" in shown.stdout
    assert json.loads(call("show", "birds@champion", "--json").stdout)["history"]["champion_before"] == "1"
    assert call("rollback", "--reason", "wrong").exit_code == 0
    assert json.loads(call("show", "birds/3", "--json").stdout)["history"]["rolled_back"].endswith(": wrong")
    assert call("archive", "birds", "2").stdout == "version 2 of birds is archived; its files stay\n"
    assert "archived" in call("list").stdout
    forced = call("promote", "birds/3", "--force", "--reason", "it is right", "--json")
    assert json.loads(forced.stdout)["moved"]
    assert call("promote", "birds/3").exit_code == 0  # champion already


def test_files_that_are_gone_are_seen_in_the_list(store: Store, call: Callable[..., Result], tmp_path: Path) -> None:
    add(store, tmp_path / "one")
    shutil.rmtree(files_of(store, 1))
    assert "GONE" in call("list").stdout
    assert "GONE from the store" in call("show").stdout
    assert call("promote").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote", "--force"), "to force a promotion, say why: --force --reason 'why'"),
        (("promote", "--reason", "because"), "to force a promotion, say why: --force --reason 'why'"),
        (("show", "brids"), "no registered model 'brids' in "),
        (("show", "birds@champion"), "the model 'birds' has no alias 'champion' in "),
        (("archive", "birds", "1"), "version 1 of birds is @challenger"),
        (("rollback",), "birds has no champion to roll back"),
        (("list", "models:/birds/latest"), "expected NAME, models:/NAME@ALIAS"),
    ],
)
def test_a_mistake_is_one_line(
    store: Store, call: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    add(store, tmp_path / "one")
    done = call(*words)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, line.startswith(f"error: {said}")) == (2, True), line


def test_without_params_a_name_must_be_given(call: Callable[..., Result], with_store: Workspace) -> None:
    with_store.params.unlink()
    done = call("show")
    assert (done.exit_code, "name a registered model, or run where params.yaml names one" in done.stderr) == (2, True)
