"""What is tried next: each point once; TPE goes towards what was good, also after a resume."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from protoquant.settings.settings import read_params
from protoquant.settings.sweep_section import SweepConfig
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.points import SearchPoint, grid_points
from protoquant.sweep.records import TrialRecord
from protoquant.sweep.suggest import Suggestions, point_of

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")
BEST = 0.3


def plan(points: tuple[SearchPoint, ...] = (), **values: Any) -> SweepPlan:
    return SweepPlan("test", PARAMS, SweepConfig.parse(values, "sweep"), points, {})


def done(point: SearchPoint, number: int) -> TrialRecord:
    """The end of a trial whose accuracy falls with the distance of refit from its best."""
    far = abs(float(point.changes["train.refit"]) - BEST)
    numbers = {"accuracy": 1.0 - far, "class_size": 1.0 + 10 * far}
    return TrialRecord(point, number, "done", "", 1.0, numbers, ())


def search(suggestions: Suggestions, many: int) -> list[TrialRecord]:
    """Run trials one after the other."""
    records = []
    for place in range(many):
        configuration = suggestions.suggest(f"t{place}")
        if configuration == Searcher.FINISHED:
            break
        record = done(*point_of(configuration))
        suggestions.on_trial_complete(f"t{place}", {"answer": json.dumps({"numbers": dict(record.numbers)})})
        records.append(record)
    return records


def test_a_grid_goes_on_with_what_has_not_ended() -> None:
    config = SweepConfig.parse({"space": {"train.refit": [0.1, 0.2, 0.3]}}, "sweep")
    points = tuple(grid_points(config))
    left = Suggestions(plan(points, space={"train.refit": [0.1, 0.2, 0.3]}), [done(points[1], 2)])
    found = [point_of(left.suggest("a")), point_of(left.suggest("b"))]
    assert found == [(points[0], 1), (points[2], 3)]
    assert left.suggest("c") == Searcher.FINISHED


@pytest.mark.parametrize("objective", ["accuracy", "front"])
def test_tpe_comes_nearer_than_chance_and_goes_on_after_a_resume(objective: str) -> None:
    space = {"train.refit": {"low": 0.01, "high": 1.0}}
    asked = plan(space=space, search="tpe", trials=40, objective=objective)
    first = search(Suggestions(asked, []), 25)
    rest = search(Suggestions(asked, first), 100)
    assert len(first) + len(rest) == 40
    assert len({record.point.trial for record in first + rest}) == 40
    assert [record.number for record in first + rest] == list(range(1, 41))
    late = [abs(record.point.changes["train.refit"] - BEST) for record in rest]
    assert sum(late) / len(late) < 0.15  # uniform draws: 0.29


def test_a_failed_trial_of_tpe_runs_again_under_its_number_before_new_ones() -> None:
    asked = plan(space={"train.refit": {"low": 0.01, "high": 1.0}}, search="tpe", trials=6)
    first = search(Suggestions(asked, []), 4)
    broken = [replace(record, state="failed", numbers={}) for record in first[1::2]]
    rest = search(Suggestions(asked, [first[0], *broken, first[2]]), 100)
    assert [(record.point, record.number) for record in rest[:2]] == [(one.point, one.number) for one in broken]
    assert [record.number for record in rest] == [2, 4, 5, 6]
    assert len({record.point.trial for record in [*first, *rest]}) == 6


def test_tpe_ends_where_the_space_does() -> None:
    asked = plan(space={"train.refit": [0.1, 0.2, 0.3]}, search="tpe", trials=3)
    assert {record.point.changes["train.refit"] for record in search(Suggestions(asked, []), 9)} == {0.1, 0.2, 0.3}
