from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import binom

from protoquant.codebook.probe import pooled_tokens
from protoquant.codebook.tokens import TensorSource
from protoquant.core.events import EpochEvent, ignore
from protoquant.head.choice import crossfit
from protoquant.head.choice.crossfit import cross_fit
from protoquant.head.choice.fold import answer_fold
from protoquant.head.choice.folds import stratified_folds
from protoquant.head.config import ChoiceConfig
from tests.builders.cross_fits import cross_fit_task
from tests.builders.tokens import clustered

ONCE, TWICE = ChoiceConfig(folds=3, repeats=1), ChoiceConfig(folds=3, repeats=2)


def without_classes(n: int = 150):
    """Tokens that know no label, of many dimensions, in which each image is like no other."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(n, 6, 48, generator=generator)
    return values, (torch.arange(n) % 3)[torch.randperm(n, generator=generator)]


def bounds(n: int) -> tuple[float, float]:
    """What chance among three classes stays within, but for one time in ten thousand."""
    low, high = binom.interval(0.9999, n, 1 / 3)
    return low / n, high / n


def test_labels_that_mean_nothing_give_chance() -> None:
    values, labels = without_classes()
    found = cross_fit(cross_fit_task(values, labels, size=12), ONCE, ignore)
    low, high = bounds(len(labels))
    accuracies = found.right.mean(dim=1)
    assert low <= float(accuracies.min()) <= float(accuracies.max()) <= high
    assert float(found.losses.mean(dim=1).min()) > 0.95 * torch.tensor(3.0).log()


def test_a_leak_would_show(monkeypatch) -> None:
    """The same labels, with the held-out images among those that are fitted on."""
    honest = crossfit.stratified_folds

    def leaking(labels, *arguments):
        return [replace(fold, fitting=torch.arange(len(labels))) for fold in honest(labels, *arguments)]

    monkeypatch.setattr(crossfit, "stratified_folds", leaking)
    values, labels = without_classes()
    found = cross_fit(cross_fit_task(values, labels, size=12), ONCE, ignore)
    assert float(found.right.mean(dim=1).max()) > bounds(len(labels))[1]


def test_a_fold_seeds_on_the_object_in_train_images_and_anywhere_in_those_of_validation() -> None:
    values, labels = clustered(6, 0)
    on_object = torch.zeros(4, 6, dtype=torch.bool)
    on_object[2, 3] = True
    task = replace(cross_fit_task(values, labels), on_object=on_object)
    found = task.looked_at(torch.tensor([5, 2, 0]))
    assert found is not None
    assert found.tolist() == [[True] * 6, [False, False, False, True, False, False], [False] * 6]
    assert cross_fit_task(values, labels).looked_at(torch.tensor([0])) is None


@pytest.mark.parametrize("solver", [{}, {"solver": "proximal", "budget": None, "points": 3, "ratio": 0.1}])
def test_labels_of_held_out_images_are_not_read(solver) -> None:
    values, labels = clustered(30, 0)
    task = cross_fit_task(values, labels, **solver)
    fold = stratified_folds(labels, 3, 1, 0)[1]
    changed = labels.clone()
    changed[fold.held] = (labels[fold.held] + 1) % 3
    other = replace(task, images=TensorSource(values, changed))
    pooled = pooled_tokens(task.images, 64, task.device)
    before, after = (answer_fold(each, fold, pooled, keep=True) for each in (task, other))
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.codebook.codes, after.codebook.codes)
    assert before.logits.shape == (2 * (3 if solver else 2), len(fold.held), 3)


def test_classes_that_are_there_are_found_and_every_candidate_is_paired() -> None:
    values, labels = clustered(60, 0)
    heard = []
    found = cross_fit(cross_fit_task(values, labels), TWICE, heard.append)
    assert found.losses.shape == found.right.shape == (4, 60)
    assert found.sizes.tolist() == [1, 3, 1, 3]
    assert float(found.right.mean()) > 0.98
    assert set(found.right.flatten().tolist()) <= {0.0, 0.5, 1.0}  # of two repeats
    told = [event for event in heard if isinstance(event, EpochEvent)]
    assert [event.epoch for event in told] == [1, 2]
    assert told[1].values["cross_fitted_top1"] == pytest.approx(float(found.right.mean(dim=1).max()))
    assert (found.first.repeat, found.first.number) == (0, 0)
    assert len(found.start.starts) == 4
    again = cross_fit(cross_fit_task(values, labels), TWICE, ignore)
    assert torch.equal(found.losses, again.losses)


def test_answers_do_not_depend_on_the_number_of_cores() -> None:
    task, threads = cross_fit_task(*clustered(60, 0)), torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(cross_fit(replace(task), TWICE, ignore).losses)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_folds_run_one_by_one_where_their_scores_are_many_or_in_files(tmp_path: Path) -> None:
    task = cross_fit_task(*clustered(60, 0))
    assert task.at_once > 5
    assert replace(task, room=tmp_path).at_once == 1
    many = TensorSource(task.images.tokens(torch.zeros(1, dtype=torch.int64)).expand(1 << 28, -1, -1), task.labels)
    assert replace(task, images=many).at_once == 1


def test_sizes_of_a_path_are_those_that_the_folds_found() -> None:
    values, labels = clustered(60, 0)
    task = cross_fit_task(values, labels, temperature=0.1, solver="proximal", budget=None, points=3, ratio=0.1)
    found = cross_fit(task, ONCE, ignore)
    assert found.sizes.tolist() == sorted(found.sizes.tolist())
    assert 0 < float(found.sizes[-1]) <= 9


def test_augmented_views_are_those_of_the_fitting_train_images() -> None:
    values, labels = clustered(30, 0)
    task = replace(cross_fit_task(values, labels), views=(TensorSource(values[:20] + 1, labels[:20]),))
    images = torch.tensor([0, 3, 19, 20, 25])
    seen = task.viewed(images)
    assert seen.n == 8  # five plain images, and a view of each of the three of train
    assert torch.equal(seen.tokens(torch.tensor([5, 6, 7])), values[[0, 3, 19]] + 1)
