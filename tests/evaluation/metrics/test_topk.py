"""Heads limited to their largest weights: by hand, and against a model that is computed from scratch."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.events import ignore
from protoquant.evaluation.metrics.topk import (
    KS,
    area_over_log_k,
    compact_answers,
    limited,
    limits,
    masked_answers,
    topk_table,
)
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.model.presence import presence
from tests.builders.bundles import bundle
from tests.builders.tokens import DIRECTIONS, clustered, units, write_split

HEAD = np.array([[3.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.5, 0.5]])


def test_largest_weights_stay_and_zeros_are_never_counted() -> None:
    assert limited(HEAD, 1).tolist() == [[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]]
    assert limited(HEAD, 3).tolist() == HEAD.tolist()
    assert (limited(HEAD, 3)[1] > 0).sum() == 2


def test_limits_end_at_the_largest_class() -> None:
    assert limits(HEAD) == (1, 3)
    assert limits(np.ones((2, 4))) == (1, 3, 4)
    assert limits(np.zeros((2, 4))) == (1,)
    assert limits(np.ones((2, 60))) == (*KS, 60)


@given(seed=st.integers(0, 1000), k=st.integers(1, 12))
def test_a_limited_head_is_part_of_the_head(seed: int, k: int) -> None:
    head = np.maximum(np.random.default_rng(seed).normal(size=(4, 9)), 0.0)
    kept = limited(head, k)
    assert ((kept == head) | (kept == 0)).all()
    assert ((kept > 0).sum(axis=1) == np.minimum((head > 0).sum(axis=1), k)).all()
    assert (limited(kept, k) == kept).all()


def test_masking_changes_a_class_through_its_own_weights_alone() -> None:
    """I4: the other class's score stays, though three of its prototypes are shared."""
    scores = np.array([0.2, 0.9, 0.4, 0.1])
    before, kept = HEAD @ scores, limited(HEAD, 2) @ scores
    assert kept[1] == before[1]
    assert before[0] - kept[0] == pytest.approx(0.9)


def test_masked_answers_by_hand() -> None:
    """Scores 0.1 and 0.9 for class 0; without its second weight 0.1 against 0.25."""
    scores = np.array([[0.0, 0.8, 0.5, 0.05]], dtype=np.float32)
    found = masked_answers(scores, HEAD, (1, 3), 1e-3)
    assert found.predicted.tolist() == [[1, 0]]
    assert found.local.tolist() == [[1, 2]]


def test_table_by_hand() -> None:
    scores = np.array([[0.0, 0.8, 0.5, 0.05], [0.1, 0.0, 0.0, 0.0]], dtype=np.float32)
    answers = masked_answers(scores, HEAD, (1, 3), 1e-3)
    table = topk_table(HEAD, (1, 3), np.array([0, 0]), {"mask": answers})
    assert table.to_dict("list") == {
        "mode": ["mask", "mask"],
        "k": [1, 3],
        "n": [2, 2],
        "top1": [0.5, 1.0],
        "prototypes": [2, 4],
        "class_size": [1.0, 2.5],
        "local_size": [1.0, 1.5],
    }


def test_area_by_hand() -> None:
    assert area_over_log_k([1], np.array([[0.7]])) == pytest.approx([0.7])
    # From 0 at 1 up to 1 at 5, then 1 up to 50: a triangle over ln 5 and a rectangle over ln 10.
    expected = (0.5 * math.log(5) + math.log(10)) / math.log(50)
    assert area_over_log_k([1, 5], np.array([[0.0, 1.0]])) == pytest.approx([expected])
    # What lies beyond 50 is cut: at 50, the line from 1 to 2500 is halfway.
    assert area_over_log_k([1, 2500], np.array([[0.0, 1.0]])) == pytest.approx([0.25])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Bundle]:
    """A store of 11 images and a head of which one code is used by none, two by one class each."""
    store = write_split(tmp_path_factory.mktemp("topk") / "test", *clustered(11, 3, noise=0.5))
    head = torch.from_numpy(np.maximum(np.random.default_rng(5).normal(size=(3, 12)), 0.0)).float()
    codes = torch.cat([DIRECTIONS, units(4, 16, seed=3)])
    return store, bundle(codes, head)


def test_compact_is_the_smaller_model_from_scratch(world: tuple[FeatureStore, Bundle]) -> None:
    """I5: the codebook of the survivors alone, and its presence, give the same answers."""
    store, made = world
    head = made.head.double().numpy()
    ks = limits(head)
    found = compact_answers(store, made, ks, epsilon=1e-3, device=torch.device("cpu"), on_event=ignore)
    tokens = torch.cat([shard for _, shard in store.shards(slice(0, store.n))])
    for place, k in enumerate(ks):
        kept = torch.from_numpy(limited(head, k))
        codes = (kept > 0).any(dim=0).nonzero().flatten()
        scores = presence(tokens, made.codebook.only(codes), made.temperature).scores.double()
        logits = scores @ kept[:, codes].T
        predicted = logits.argmax(dim=1)
        assert found.predicted[:, place].tolist() == predicted.tolist()
        own = scores * kept[:, codes][predicted]
        assert found.local[:, place].tolist() == (own > 1e-3).sum(dim=1).tolist()


def test_survivors_score_higher_than_under_the_mask(world: tuple[FeatureStore, Bundle]) -> None:
    store, made = world
    tokens = torch.cat([shard for _, shard in store.shards(slice(0, store.n))])
    codes = torch.tensor([0, 3])
    masked = presence(tokens, made.codebook, made.temperature).scores[:, codes]
    assert (presence(tokens, made.codebook.only(codes), made.temperature).scores > masked).all()


def test_answers_do_not_depend_on_shards(world: tuple[FeatureStore, Bundle], tmp_path: Path) -> None:
    store, made = world
    other = write_split(tmp_path / "test", *clustered(11, 3, noise=0.5), shard=7)
    one, two = (
        compact_answers(each, made, (1, 2, 4), epsilon=1e-3, device=torch.device("cpu"), on_event=ignore)
        for each in (store, other)
    )
    assert np.array_equal(one.predicted, two.predicted)
    assert np.array_equal(one.local, two.local)
