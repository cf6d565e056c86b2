from typing import get_args

import pytest

from protoquant.core.errors import DataError
from protoquant.core.events import ignore
from protoquant.head.config import SolverName, TrainConfig
from protoquant.head.solvers.registry import SOLVERS, FitTask
from tests.builders.problems import random_problem

GRADIENT = {"penalties": [0.1, 0.01], "epochs": 2, "warmup_epochs": 1}
SECTIONS = {
    "budget": {"budget": {"sizes": [1, 2], "ridge": 0.1}},
    "proximal": {"budget": None, "points": 3, "refit": 0.5},
    "gradient": {
        "budget": None,
        "gradient": {"penalties": [0.1, 0.01], "epochs": 2, "warmup_epochs": 1},
        "choice": None,
        "joint": None,
    },
}
HEADS = {"budget": 2, "proximal": 3, "gradient": 2}


def task(name: str, problem) -> FitTask:
    config = TrainConfig.parse({"solver": name, **SECTIONS[name]})
    return FitTask(config, problem, problem, temperature=0.1, seed=0, on_event=ignore)


def test_settings_name_the_solvers_of_the_registry() -> None:
    assert set(get_args(SolverName)) == set(SOLVERS)


@pytest.mark.parametrize("name", SOLVERS)
def test_each_gives_its_heads_on_the_shape_of_the_problem(name: str) -> None:
    problem = random_problem(0, 30, 7)
    fits = list(SOLVERS[name](task(name, problem)))
    assert len(fits) == HEADS[name]
    for fit in fits:
        assert fit.last.weights.shape == (problem.classes, problem.k)
        assert float(fit.last.weights.min()) >= 0
    assert (fits[0].ridges != (0.0, 0.0)) == (name == "budget")
    assert (fits[0].epoch > 0) == (name == "gradient")


@pytest.mark.parametrize("name", ["budget", "proximal"])
def test_scores_that_tell_no_class_apart_are_refused(name: str) -> None:
    problem = random_problem(0, 30, 7)
    problem.stored = problem.stored * 0
    with pytest.raises(DataError, match=r"at temperature 0\.1 no code tells any class apart; lower train\.temperature"):
        list(SOLVERS[name](task(name, problem)))
