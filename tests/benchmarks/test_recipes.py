from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import recipes
from benchmarks.datasets import DataSet
from benchmarks.recipes import Measured, measure, sections_of
from protoquant.core.workspace import Workspace


@dataclass(frozen=True)
class Store:
    digest: str

    @classmethod
    def open(cls, path):
        return cls(str(path))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "FeatureStore", Store)
    return DataSet("photos", "photos", 0, Workspace(tmp_path / "photos"), Path("photos"))


def way(asked, stop=None):
    def run(data, plan, budgets, work):
        asked.append(list(budgets))
        for budget in budgets:
            if budget == stop:
                raise KeyboardInterrupt
            yield Measured(data.name, data.seed, "fast", budget, float(budget), 1.0, 1.0, 2.0, "11", 1.0)

    return run


def test_a_stopped_run_goes_on_where_it_was(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setitem(recipes.RECIPES, "fast", way(asked, stop=10))
    with pytest.raises(KeyboardInterrupt):
        measure(data, "fast", [5, 10, 20], tmp_path)
    monkeypatch.setitem(recipes.RECIPES, "fast", way(asked))
    found = measure(data, "fast", [5, 10, 20], tmp_path)
    assert asked == [[5, 10, 20], [10, 20]]
    assert [one.budget for one in found] == [5, 10, 20]
    assert measure(data, "fast", [20, 5], tmp_path)[0].budget == 20
    assert len(asked) == 2


def test_other_values_and_features_are_measured_anew(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setitem(recipes.RECIPES, "fast", way(asked))
    measure(data, "fast", [5], tmp_path)
    measure(data, "fast", [5], tmp_path, quick=True)
    other = DataSet("photos", "photos", 0, Workspace(tmp_path / "others"), Path("photos"))
    measure(other, "fast", [5], tmp_path)
    assert asked == [[5], [5], [5]]


def test_results_name_the_test_images(data, tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "fast", way([]))
    assert measure(data, "fast", [5], tmp_path)[0].images == str(data.workspace.features / "test")


def test_the_paper_and_ours_have_their_own_sections():
    coding, training = sections_of("paper")
    assert (coding.size, coding.epochs, training.gradient.epochs) == (2048, 60, 60)
    assert sections_of("convex")[1].joint is None
    assert sections_of("fast")[1].joint is not None
    assert sections_of("paper", quick=True)[0].epochs == 2
