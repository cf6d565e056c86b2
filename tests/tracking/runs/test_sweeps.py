"""A sweep in MLflow: written again, nothing is there twice; what was half written is written anew."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.runs.sweeps import SweepRun, TrialRun, end_sweep, log_trials

pytestmark = pytest.mark.server

SWEEP = SweepRun("sizes", "d1", "birds", {"seed": "0"})
CURVE = ({"class_size": 1.0, "validation_top1": 0.5}, {"class_size": 2.0, "validation_top1": 0.75})


def trial(number: int, state: str = "done") -> TrialRun:
    return TrialRun(f"t{number}", number, state, "", {"quantize.size": str(number)}, {"validation_top1": 0.75}, CURVE)


def test_written_twice_all_is_there_once(tmp_path: Path) -> None:
    with open_store(Workspace(tmp_path), create=True) as store:
        for _ in range(2):
            parent = log_trials(store, SWEEP, [trial(1), trial(2, "stopped"), trial(3, "failed")])
            end_sweep(store, parent, metrics={"chosen_k": 8.0}, files=None, whole=False)
        log_trials(store, SWEEP, [trial(3)])
        other = log_trials(store, replace(SWEEP, digest="d2"), [trial(1)])
        end_sweep(store, parent, metrics={"chosen_k": 8.0}, files=None, whole=True)
        client = store.client
        (experiment,) = [one.experiment_id for one in client.search_experiments() if one.name == "birds"]
        children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
        assert Counter(run.info.status for run in children) == Counter(FINISHED=2, KILLED=1)
        assert Counter(run.data.params["quantize.size"] for run in children) == Counter({"1": 1, "2": 1, "3": 1})
        first = next(run for run in children if run.info.run_name == "trial-1")
        history = client.get_metric_history(first.info.run_id, "path/validation_top1")
        assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.75)]
        assert client.get_run(parent).info.status == "FINISHED"
        assert {run.data.tags["mlflow.source.name"] for run in [*children, first]} == {"protoquant sweep"}
        assert client.get_run(parent).data.metrics == {"chosen_k": 8.0}
        assert other != parent


def test_a_child_that_was_left_running_is_written_anew(tmp_path: Path) -> None:
    with open_store(Workspace(tmp_path), create=True) as store:
        parent = log_trials(store, SWEEP, [])
        experiment = store.client.get_run(parent).info.experiment_id
        tags = {"mlflow.parentRunId": parent, "sweep_trial": "t1"}
        store.client.create_run(experiment, run_name="trial-1", tags=tags)
        log_trials(store, SWEEP, [trial(1)])
        (child,) = store.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
        assert (child.info.status, child.data.metrics["validation_top1"]) == ("FINISHED", 0.75)
