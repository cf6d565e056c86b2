"""The flow sweep on a real Prefect server: the stages before, the trials, the answer on the page."""

import pytest

from protoquant.core.artifacts import read_json
from protoquant.core.workspace import Workspace
from tests.flows.served import Served

pytestmark = pytest.mark.server

FAST = {"train.joint.epochs": 2, "train.budget.sizes": [1, 2]}


def test_a_sweep_ends_with_its_answer_on_the_page(served: Served) -> None:
    before = (served.job.root / "params.yaml").read_bytes()
    space = {"quantize.size": [1, 2], "train.temperature": [0.03, 0.1]}
    run = served.start({"sweep": "sizes", "space": space, "overrides": FAST}, flow="sweep")
    name, message = served.end(run)
    assert name == "Completed", message + served.logs(run)
    assert "is the smallest model within 1 point of the best" in message
    assert list(served.settled(run, 4)) == ["code", "prepare", "extract", "trials"]
    shown = served.artifacts(run)
    assert "data:image/png;base64," in shown["accuracy-against-size"]["data"]
    assert shown["trials"]["data"].count("quantize.size") >= 1
    (folder,) = Workspace(served.job.root).sweeps.iterdir()
    assert len(list((folder / "trials").iterdir())) == 4
    assert read_json(folder / "result" / "choice.json")["choice"]["sentence"] in message
    assert (served.job.root / "params.yaml").read_bytes() == before
    applied = served.job.run("protoquant", "sweep", "apply", folder.name).stdout
    assert applied.startswith("params.yaml: quantize.size ") or "holds the winner already" in applied
    served.job.run("git", "checkout", "-q", "params.yaml")
