import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from protoquant.core.errors import ConfigError
from protoquant.core.seeding import torch_generator
from protoquant.head.choice.folds import check_folds, inner_split, stratified_folds

NAMES = ("ant", "bee", "cat")


def labels_of(*counts: int) -> Tensor:
    return torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])


@given(st.lists(st.integers(4, 30), min_size=2, max_size=5), st.integers(2, 4), st.integers(0, 5))
def test_folds_hold_every_image_out_once_and_share_each_class_evenly(counts, folds, seed) -> None:
    labels = labels_of(*counts)
    found = stratified_folds(labels, folds, 2, seed)
    assert [(one.repeat, one.number) for one in found] == [(r, f) for r in range(2) for f in range(folds)]
    for repeat in range(2):
        some = [fold for fold in found if fold.repeat == repeat]
        assert torch.cat([fold.held for fold in some]).sort().values.tolist() == list(range(len(labels)))
        assert max(len(fold.held) for fold in some) - min(len(fold.held) for fold in some) <= 1
        shares = torch.stack([labels[fold.held].bincount(minlength=len(counts)) for fold in some])
        assert int((shares.amax(dim=0) - shares.amin(dim=0)).max()) <= 1
    for fold in found:
        assert torch.cat([fold.fitting, fold.held]).sort().values.tolist() == list(range(len(labels)))


def test_folds_are_drawn_from_the_seed_and_anew_in_each_repeat() -> None:
    labels = labels_of(20, 20)
    first, again, other = (stratified_folds(labels, 4, 2, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.held, b.held) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].held, other[0].held)
    assert not torch.equal(first[0].held, first[4].held)


@pytest.mark.parametrize(
    ("counts", "folds", "text"),
    [
        ((9, 2, 9), 3, r"needs at least 3 images of each class.*for 3 folds, class 'bee' has 2 \(params\.yaml\); add"),
        ((9, 3, 9), 2, r"at least 4 images of each class.*for 2 folds, class 'bee' has 3"),
        ((9, 9, 4), 5, r"for 5 folds, class 'cat' has 4 \(params\.yaml\); lower train\.choice\.folds to 4, add images"),
        ((9, 9), 3, r"class 'cat' has 0"),
    ],
)
def test_classes_that_are_too_small_are_refused_in_one_line(counts, folds, text) -> None:
    with pytest.raises(ConfigError, match=text) as refused:
        check_folds(labels_of(*counts), folds, NAMES)
    assert "\n" not in str(refused.value)


@given(st.lists(st.integers(3, 30), min_size=2, max_size=4), st.integers(2, 5))
def test_what_the_check_lets_pass_leaves_every_fold_two_images_of_each_class(counts, folds) -> None:
    labels = labels_of(*counts)
    try:
        check_folds(labels, folds, tuple("abcd"[: len(counts)]))
    except ConfigError:
        return
    for fold in stratified_folds(labels, folds, 1, 0):
        assert int(labels[fold.fitting].bincount().min()) >= 2
        assert int(labels[fold.held].bincount(minlength=len(counts)).min()) >= 1


def test_the_inner_split_takes_a_fifth_of_each_class_and_at_least_one() -> None:
    labels = labels_of(10, 2, 3, 20)[torch.randperm(35, generator=torch.Generator().manual_seed(3))]
    fitting, choosing = inner_split(labels, torch_generator(0, "here"))
    assert torch.cat([fitting, choosing]).sort().values.tolist() == list(range(35))
    assert labels[choosing].bincount().tolist() == [2, 1, 1, 4]
    again = inner_split(labels, torch_generator(0, "here"))
    assert torch.equal(choosing, again[1])
    assert not torch.equal(choosing, inner_split(labels, torch_generator(1, "here"))[1])
