import shutil
from dataclasses import replace

import pytest
import torch

from benchmarks import tuned
from benchmarks.datasets import DataSet
from benchmarks.recipes import shorter
from benchmarks.search_spaces import SEARCHES
from benchmarks.training import models
from benchmarks.tuned import Trial, choose, picked, search, tries
from protoquant.core.errors import DataError
from protoquant.core.workspace import Workspace
from tests.builders.training import features, images  # noqa: F401  fixtures


def trial(number, top1, loss=1.0, failed=""):
    return Trial(number, {}, top1, loss, 1.0, 1.0, failed)


def test_validation_accuracy_picks_then_its_loss_then_the_order() -> None:
    assert choose([trial(0, 0.5), trial(1, 0.7), trial(2, 0.6)]).number == 1
    assert choose([trial(0, 0.7, 0.9), trial(1, 0.7, 0.8), trial(2, 0.6, 0.1)]).number == 1
    assert choose([trial(0, 0.7), trial(1, 0.7)]).number == 0


def test_a_trial_that_failed_is_not_picked() -> None:
    assert choose([trial(0, 0.0, 0.0, failed="the loss is nan"), trial(1, 0.0, 5.0)]).number == 1
    with pytest.raises(ValueError, match="none of 1 trials gave a model; the last: the loss is nan"):
        choose([trial(0, 0.0, failed="the loss is nan")])


@pytest.fixture
def data(tmp_path, features, images) -> DataSet:
    (tmp_path / "artifacts").mkdir()
    features.rename(tmp_path / "artifacts" / "features")
    images.rename(tmp_path / "artifacts" / "images")
    return DataSet("clusters", "clusters", 0, Workspace(tmp_path), tmp_path)


@pytest.mark.model
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_picks_on_validation_and_measures_the_pick_on_test(data, tmp_path, name) -> None:
    rows = search(data, name, [1, 2], tmp_path / "work", trials=2, quick=True)
    assert [row.model.budget for row in rows] == [1, 2]
    for row in rows:
        trials = [tries(data, name, number, [1, 2], tmp_path / "work", quick=True) for number in range(2)]
        own = [one[row.model.budget] for one in trials]
        assert row.setting == choose(own).setting
        assert row.model.validation_top1 == max(one.top1 for one in own)
        assert row.cpu == pytest.approx(sum(one.cpu for one in own))
        assert len(row.model.right) == 6
        assert row.model.class_size <= row.model.budget


@pytest.mark.model
def test_trials_do_not_open_test(data, tmp_path) -> None:
    shutil.rmtree(data.workspace.features / "test")
    found = tries(data, "ours", 0, [1], tmp_path / "work", quick=True)[1]
    assert 0 < found.top1 <= 1
    assert found.cpu > 0
    with pytest.raises(Exception, match="test"):
        picked(data, "ours", 1, found, tmp_path / "work", quick=True)


@pytest.mark.model
def test_a_pick_that_gives_another_model_is_refused(data, tmp_path) -> None:
    found = tries(data, "convex", 0, [1], tmp_path / "work", quick=True)[1]
    with pytest.raises(ValueError, match="after a change of the code"):
        picked(data, "convex", 1, replace(found, top1=0.125), tmp_path / "work", quick=True)


@pytest.mark.model
def test_a_trial_that_fails_keeps_the_models_before_it_and_its_seconds(data, tmp_path, monkeypatch) -> None:
    real = tuned.models

    def breaks(data, plan, budgets, work):
        yield from real(data, plan, budgets[:1], work)
        raise DataError("the loss is nan")

    monkeypatch.setattr(tuned, "models", breaks)
    first, second = tries(data, "convex", 0, [1, 2], tmp_path / "work", quick=True).values()
    assert (first.failed, second.failed) == ("", "the loss is nan")
    assert second.cpu > 0
    monkeypatch.setattr(tuned, "models", lambda *_: pytest.fail("a finished trial was made again"))
    assert tries(data, "convex", 0, [1, 2], tmp_path / "work", quick=True)[2] == second


@pytest.mark.model
def test_codes_of_the_papers_method_move_with_the_head_after_the_cut(data, tmp_path) -> None:
    """The trained row is the frozen one, cut and fine-tuned alike, whose codes and weights then move."""
    frozen, trained = (
        shorter(*SEARCHES[name].sections(SEARCHES[name].setting(0, 0))) for name in ("paper-frozen", "paper-trained")
    )
    before, after = (next(iter(models(data, plan, [2], tmp_path / "work"))).bundle for plan in (frozen, trained))
    assert before.codebook.codes.shape == after.codebook.codes.shape
    assert not torch.equal(before.codebook.codes, after.codebook.codes)
    assert not bool((after.head > 0)[before.head == 0].any())
    assert int((after.head > 0).sum(dim=1).max()) <= 2
