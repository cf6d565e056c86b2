import pytest
import torch

from protoquant.core.events import ignore
from protoquant.head.config import BudgetConfig, JointConfig, TrainConfig
from protoquant.head.narrowing import final_size, narrowing, wide_head
from protoquant.head.solvers.registry import SOLVERS, Fit, FitTask
from tests.builders.problems import random_problem

JOINT = JointConfig(start_size=4)


def fits(config: TrainConfig) -> list[Fit]:
    problem = random_problem(0, 30, 7)
    return list(SOLVERS[config.solver](FitTask(config, problem, problem, temperature=0.1, seed=0, on_event=ignore)))


def test_the_start_is_the_largest_weights_of_the_dense_fit() -> None:
    config = TrainConfig(budget=BudgetConfig(sizes=(1, 2)), joint=JOINT)
    for fit in fits(config):
        start, dense = wide_head(config, fit), fit.first.weights
        for row, every in zip(start, dense, strict=True):
            assert row[row > 0].sort().values.tolist() == every[every > 0].sort().values[-4:].tolist()
            assert torch.equal(row[row > 0], every[row > 0])


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(budget=BudgetConfig(sizes=(2,)), joint=None),
        TrainConfig(budget=BudgetConfig(sizes=(2,)), joint=JOINT.model_copy(update={"start_size": None})),
        TrainConfig(budget=BudgetConfig(sizes=(2,)), joint=JOINT.model_copy(update={"start_size": 2})),
        TrainConfig(solver="proximal", budget=None, joint=JOINT, points=2, ratio=0.5),
    ],
)
def test_without_a_wider_start_it_is_the_fitted_head(config: TrainConfig) -> None:
    for fit in fits(config):
        assert torch.equal(wide_head(config, fit), fit.last.weights)


def test_the_final_size_is_that_of_the_candidate_at_any_temperature() -> None:
    config = TrainConfig(temperature=(0.03, 0.05), budget=BudgetConfig(sizes=(1, 3, 5)), joint=JOINT)
    assert [final_size(config, place) for place in range(6)] == [1, 3, 5, 1, 3, 5]
    assert [final_size(config.model_copy(update={"max_class_size": 3.5}), place) for place in range(3)] == [1, 3, 3]
    assert final_size(config.model_copy(update={"joint": None}), 1) is None
    assert final_size(TrainConfig(solver="proximal", budget=None, joint=JOINT), 1) is None


@pytest.mark.parametrize(
    ("epochs", "start", "size", "sizes"),
    [
        (8, 12, 4, (10, 8, 6, 4, 4, 4, 4, 4)),
        (5, 12, 2, (8, 4, 2, 2, 2)),
        (1, 12, 5, (5,)),
        (3, None, 5, (5, 5, 5)),
        (3, 5, 7, (7, 7, 7)),
    ],
)
def test_the_cut_takes_the_first_half(epochs: int, start: int | None, size: int, sizes: tuple[int, ...]) -> None:
    assert narrowing(JointConfig(epochs=epochs, start_size=start), size) == sizes
