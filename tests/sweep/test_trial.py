"""A trial in this process: what it reports, and what it says of a full disk."""

import errno
import os
from dataclasses import replace
from typing import NoReturn

import pytest

from protoquant.core.workspace import Workspace
from protoquant.settings.settings import read_params
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.trial import Job as TrialJob
from protoquant.sweep.trial import run_trial
from tests.workspaces import Job

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def prepared(job: Job) -> TrialJob:
    workspace = Workspace(job.root)
    return TrialJob.prepare(SweepPlan.make("one", read_params(workspace.params), workspace), workspace, "cpu")


def test_a_trial_tells_the_best_so_far_and_all_its_heads(prepared: TrialJob) -> None:
    told: list[float] = []
    found = run_trial(prepared, prepared.plan.points[-1], told.append)
    assert found["error"] == ""
    assert told == sorted(told)
    *heads, final = found["path"]
    assert final["final"]
    assert not any(head["final"] for head in heads)
    assert [head["class_size"] for head in heads] == sorted(head["class_size"] for head in heads)
    assert final["accuracy"] == found["numbers"]["accuracy"] <= told[-1] + 1e-6
    chosen = [head for head in heads if head["accuracy"] == pytest.approx(final["accuracy"], abs=1e-6)]
    assert final["nonzeros"] in {head["nonzeros"] for head in chosen}


def test_with_class_weights_a_trial_is_measured_by_balanced_accuracy(prepared: TrialJob) -> None:
    params = {**prepared.plan.params, "train": {**prepared.plan.params["train"], "class_weights": "balanced"}}
    weighed = replace(prepared, plan=replace(prepared.plan, params=params))
    told: list[float] = []
    point = prepared.plan.points[-1]
    found, plain = run_trial(weighed, point, told.append), run_trial(prepared, point, lambda _: None)
    assert found["error"] == ""
    numbers = found["numbers"]
    assert numbers["accuracy"] <= told[-1] + 1e-6
    assert 0 < numbers["n"] <= plain["numbers"]["n"]
    assert numbers["accuracy"] in [pytest.approx(head["accuracy"], abs=1e-6) for head in found["path"][:-1]]


def test_a_full_disk_is_the_trials_error(prepared: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_more: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "codes.safetensors")

    monkeypatch.setattr("protoquant.codebook.quantize.quantize", full)
    found = run_trial(prepared, prepared.plan.points[0], lambda _: None)
    assert found["error"] == "[Errno 28] No space left on device: 'codes.safetensors'"
