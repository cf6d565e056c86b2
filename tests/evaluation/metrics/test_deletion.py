"""Curves of deletion and insertion, worked by hand, and what holds for any image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.metrics.accuracy import softmax
from protoquant.evaluation.metrics.deletion import CURVES, SHARES, account, curve, delete_and_insert

HEAD = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
SCORES = np.array([1.0, 0.5, 0.2])
"""Class scores 2.5 and 1.1; the account of class 0 is prototype 0 (2.0) and prototype 1 (0.5)."""


def share(first: float, second: float) -> float:
    return float(np.exp(first) / (np.exp(first) + np.exp(second)))


def test_account_is_in_order_and_leaves_out_what_does_not_contribute() -> None:
    assert account(np.array([0.5, 0.0, 2.0, 0.5])).tolist() == [2, 0, 3]
    assert account(np.zeros(3)).tolist() == []


def test_deletion_by_hand() -> None:
    """Without 0: 0.5 against 1.1, class 1 wins. Without 1 too: 0 against 0.6, as 1 speaks for both classes."""
    found = curve(SCORES, HEAD, account(SCORES * HEAD[0]), 0)
    expected = [share(2.5, 1.1), share(0.5, 1.1), share(0.0, 0.6)]
    assert found.probability == pytest.approx(expected)
    assert found.correct.tolist() == [1.0, 0.0, 0.0]
    assert found.area == pytest.approx((expected[0] / 2 + expected[1] + expected[2] / 2) / 2)


def test_insertion_by_hand() -> None:
    found = curve(SCORES, HEAD, account(SCORES * HEAD[0]), 1, insertion=True)
    assert found.probability == pytest.approx([share(0.0, 0.6), share(2.0, 0.6), share(2.5, 1.1)])
    assert found.correct.tolist() == [1.0, 0.0, 0.0]


def test_an_image_that_nothing_speaks_for_has_a_flat_curve() -> None:
    found = curve(np.zeros(3), HEAD, account(np.zeros(3)), 1)
    assert found.probability.tolist() == [0.5]
    assert found.area == 0.5
    whole = delete_and_insert(["a"], np.array([1]), np.zeros((1, 3)), HEAD, 0)
    assert (whole.probability == 0.5).all()
    assert (whole.areas == 0.5).all()


def test_table_holds_the_means() -> None:
    found = delete_and_insert(["a", "b"], np.array([0, 1]), np.stack([SCORES, SCORES[::-1]]), HEAD, 0)
    table = found.table()
    assert table.columns.tolist() == ["share", *(f"{name}{end}" for name in CURVES for end in ("", "_top1"))]
    assert table["share"].tolist() == SHARES.tolist()
    assert table["deletion"].iloc[0] == pytest.approx(found.probability[:, 0, 0].mean())
    assert table["deletion_top1"].iloc[0] == 1.0


@given(seed=st.integers(0, 1000), k=st.integers(2, 8), c=st.integers(2, 4))
def test_both_lead_between_the_same_ends_in_any_order(seed: int, k: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    scores, head = rng.random((3, k)), np.maximum(rng.normal(size=(c, k)), 0.0)
    found = delete_and_insert(list("abc"), rng.integers(0, c, 3), scores, head, seed)
    for image, seen in enumerate(scores):
        deletion, other, insertion, random = found.probability[image]
        whole = softmax((head @ seen)[None])[0].max()
        assert deletion[0] == pytest.approx(whole)
        assert other[0] == pytest.approx(whole)
        assert [insertion[-1], random[-1]] == pytest.approx([whole] * 2)
        assert [other[-1], insertion[0], random[0]] == pytest.approx([deletion[-1]] * 3)
    assert ((found.areas >= 0) & (found.areas <= 1)).all()


def test_images_are_measured_each_for_itself_and_the_random_order_has_a_seed() -> None:
    rng = np.random.default_rng(0)
    scores, head, labels = rng.random((5, 40)), rng.random((3, 40)), rng.integers(0, 3, 5)
    ids = [f"test/{number}.png" for number in range(5)]
    together = delete_and_insert(ids, labels, scores, head, 0)
    alone = delete_and_insert(ids[3:4], labels[3:4], scores[3:4], head, 0)
    assert np.array_equal(together.areas[3:4], alone.areas)
    other = delete_and_insert(ids, labels, scores, head, 1)
    assert np.array_equal(together.area("deletion"), other.area("deletion"))
    assert not np.array_equal(together.area("deletion_random"), other.area("deletion_random"))


def test_an_order_by_contribution_falls_faster_than_a_random_one() -> None:
    rng = np.random.default_rng(0)
    head = np.vstack([rng.random(20) ** 4 * 5, np.zeros(20)])
    found = delete_and_insert([str(n) for n in range(50)], np.zeros(50, dtype=int), rng.random((50, 20)), head, 0)
    assert found.area("deletion").mean() < found.area("deletion_random").mean() - 0.05
    assert found.area("insertion").mean() > found.area("insertion_random").mean() + 0.05
