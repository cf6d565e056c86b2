"""The flow under a real Prefect server and runner: started by REST as the UI starts it."""

import base64
import io
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.flows.served import Served, wait_for
from tests.pipeline.conftest import tree_of

pytestmark = pytest.mark.server

STAGES = ["code", "prepare", "extract", "quantize", "train", "evaluate", "visualize", "register"]
NO_MODEL = {"model": "models:/protoqant@challenger"}
DATA = {"root": "data/partbirds.yaml", "reader": "partbirds", "split": "test"}
MISTAKES = [
    (
        "experiment",
        {"overrides": {"train.temprature": 1}},
        "unknown key 'train.temprature'; did you mean 'temperature'?",
    ),
    ("experiment", {"overrides": {"train.tolerance": 7}}, "train.tolerance must be a number >= 0.0 and <= 1.0, got 7"),
    ("experiment", {"root": "nowhere"}, "there is no nowhere"),
    ("experiment", {"root": "s3://no-such-bucket/birds", "reader": "image_folder"}, "credentials"),
    ("experiment", {"revision": "nowhere"}, "'nowhere' names no commit"),
    ("sweep", {"space": {"quantize.sise": [1, 2]}}, "unknown key 'quantize.sise'; did you mean 'size'?"),
    ("evaluate-model", NO_MODEL | DATA, "did you mean 'protoquant'?"),
    ("promote", NO_MODEL, "did you mean 'protoquant'?"),
]


def test_a_run_ends_with_numbers_picture_links_and_an_experiment(served: Served) -> None:
    before = tree_of(served.job.root)
    run = served.start({"size": 5, "overrides": {"train.joint.epochs": 2, "evaluate.metrics": []}})
    assert served.end(run)[0] == "Completed", served.tasks(run)
    tasks = served.settled(run, len(STAGES) + 1)
    assert list(tasks) == [*STAGES, "record"]
    assert {name for name, _ in tasks.values()} == {"Ran"}
    artifacts = served.artifacts(run)
    assert "top1" in artifacts["metrics"]["data"]
    head, _, data = artifacts["accuracy-against-sparsity"]["data"].rstrip(")").partition(",")
    assert head == "![accuracy against sparsity](data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50
    assert "models:/protoquant/1" in artifacts["links"]["data"]
    name = served.run(run)["state"]["message"].removeprefix("DVC experiment ")
    assert name in served.job.run("dvc", "exp", "list").stdout
    after = tree_of(served.job.root)
    new = {path for path in after if path not in before and not path.startswith(("mlflow.db", "mlruns"))}
    assert new == set()
    assert {path: after[path] for path in before} == before


def test_the_same_again_recomputes_nothing(served: Served) -> None:
    run = served.start({"size": 5, "overrides": {"train.joint.epochs": 2, "evaluate.metrics": []}})
    assert served.end(run)[0] == "Completed"
    found = {name: state for name, (state, _) in served.settled(run, len(STAGES) + 1).items()}
    assert {found[name] for name in STAGES[1:-1]} == {"Restored"}
    with sqlite3.connect(served.job.root / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        assert database.execute("select count(*) from model_versions").fetchone() == (1,)


def test_what_the_form_forbids_starts_no_run(served: Served) -> None:
    for parameters, sentence in (
        ({"params": {"size": 0}}, "0 is less than the minimum of 1"),
        ({"params": {"sise": 5}}, "'sise' was unexpected"),
        ({"prams": {}}, "'prams' was unexpected"),
    ):
        answer = served.post(parameters)
        assert answer.status_code == 409
        assert sentence in json.dumps(answer.json())


def test_bad_data_fails_once_and_what_follows_is_not_reached(served: Served) -> None:
    folder = served.job.root.parent / "one-class"
    (folder / "robin").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "robin" / "a.png")
    run = served.start({"root": "../one-class", "reader": "image_folder"})
    name, message = served.end(run)
    assert (name, "prepare: at least two classes are needed" in message) == ("Failed", True)
    tasks = served.settled(run, len(STAGES) + 1)
    assert tasks["prepare"][0] == "Failed"
    assert {state for task, (state, _) in tasks.items() if task not in ("code", "prepare")} == {"NotReady"}


def test_cancel_ends_the_stage_and_a_retry_continues(served: Served) -> None:
    run = served.start({"size": 6, "overrides": {"train.joint.epochs": 400}})
    process = served.wait_for_stage("train")
    served.set_state(run, type="CANCELLING")
    wait_for(lambda: not process.is_running(), "the stage's end")
    assert served.end(run)[0] == "Cancelled"
    wait_for(lambda: served.tasks(run)["train"][0] == "Crashed", "the task's end")
    served.retry(run)
    served.wait_for_stage("train")

    def states() -> set[str]:
        tasks = served.tasks(run)
        return {tasks[name][0] for name in STAGES[1:4]}

    wait_for(lambda: states() == {"Unchanged"}, f"the earlier stages' ends: {served.tasks(run)}")
    served.set_state(run, type="CANCELLING")
    assert served.end(run)[0] == "Cancelled"


def test_a_run_that_nobody_takes_says_so_and_runs_when_a_runner_comes(served: Served) -> None:
    served.stop()
    run = served.start({"overrides": {"train.temprature": 1}})
    wait_for(lambda: served.run(run)["state"]["name"] == "Waiting", "the message")
    assert "make serve" in served.run(run)["state"]["message"]
    served.serve()
    assert served.end(run)[0] == "Failed"


def test_a_registered_model_is_measured_on_a_data_set(served: Served) -> None:
    params = {"model": "models:/protoquant@challenger", "root": "data/partbirds.yaml", "reader": "partbirds"}
    run = served.start(params | {"split": "test"}, "evaluate-model")
    name, message = served.end(run)
    assert (name, message.startswith("top-1 ")) == ("Completed", True), message
    rows = {row["metric"]: row for row in json.loads(served.artifacts(run)["metrics"]["data"])}
    assert rows["top1"]["n"] == 8


def test_a_registered_model_is_promoted_by_its_gates(served: Served) -> None:
    # The lock of a run is in its experiment; export is measured elsewhere.
    params = served.job.root / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("  export: true", "  export: false"))
    run = served.start({"model": "models:/protoquant@challenger"}, "promote")
    name, message = served.end(run)
    assert (name, message.startswith("protoquant@champion is version ")) == ("Completed", True), message
    rows = {row["gate"]: row for row in json.loads(served.artifacts(run)["gates"]["data"])}
    assert rows["lock"]["why"].startswith("its dvc.lock is that of commit ")
    assert rows["accuracy"]["why"] == "no champion yet"
    params.write_text(before)


@pytest.fixture(scope="module")
def ids(served: Served) -> list[str]:
    """A run with each mistake, in one process: starting one takes seconds."""
    done = subprocess.run(
        [served.job.programs / "python", Path(__file__).with_name("mistakes.py")],
        input=json.dumps([(flow, params) for flow, params, _ in MISTAKES]),
        cwd=served.job.root, env=served.job.environment | served.variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("number", "sentence"), [(number, one[2]) for number, one in enumerate(MISTAKES)])
def test_a_mistake_is_one_sentence(served: Served, ids: list[str], number: int, sentence: str) -> None:
    name, message = served.end(ids[number])
    assert name == "Failed"
    assert sentence in message
    assert "\n" not in message
    assert "Traceback" not in message
