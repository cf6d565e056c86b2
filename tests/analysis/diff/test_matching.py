from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.analysis.diff.matching import KEPT, MOVED, assign, match, match_codes, other_space
from protoquant.analysis.diff.patches import share_patches
from protoquant.codebook.space.feature_norm import FeatureNorm
from tests.builders.bundles import answering
from tests.builders.specs import spec
from tests.builders.tokens import turned

ONE_EACH = torch.eye(3)


def head(k: int, c: int = 3) -> torch.Tensor:
    """Every code speaks for one class."""
    weights = torch.zeros(c, k)
    weights[torch.arange(k) % c, torch.arange(k)] = 1.0
    return weights


def test_kept_moved_new_and_lost_by_hand() -> None:
    # 0 -> 5 degrees: kept (cosine 0.996); 90 -> 120: moved (0.866); 200 and 290 have no partner.
    before = answering(turned(0, 90, 200), head(3))
    after = answering(turned(120, 290, 5), head(3))
    found = match(before, after)
    assert found.measure == "cosine"
    assert [(pair.before, pair.after, pair.verdict) for pair in found.pairs] == [(0, 2, "kept"), (1, 0, "moved")]
    assert found.pairs[0].similarity == pytest.approx(np.cos(np.deg2rad(5)))
    assert found.pairs[1].similarity == pytest.approx(np.cos(np.deg2rad(30)))
    assert (found.lost, found.new) == ((2,), (1,))


def test_codes_that_the_head_leaves_out_are_no_prototypes() -> None:
    weights = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = match(answering(turned(0, 90), weights), answering(turned(0, 90), head(2)))
    assert [(pair.before, pair.after) for pair in found.pairs] == [(1, 1)]
    assert found.new == (0,)


def test_a_prototype_as_near_to_its_neighbours_as_to_its_partner_is_not_the_same() -> None:
    # 0 and 30 degrees lie 30 apart in one model; 40 away from 0 is then no more than chance gives.
    near = match(answering(turned(0, 30), head(2)), answering(turned(-40, 180), head(2)))
    assert (near.pairs, near.lost, near.new) == ((), (0, 1), (0, 1))
    alone = match(answering(turned(0, 90), head(2)), answering(turned(-40, 180), head(2)))
    assert [(pair.before, pair.after, pair.verdict) for pair in alone.pairs] == [(0, 0, "moved")]


def test_as_near_to_a_neighbour_as_to_the_partner_is_not_nearer() -> None:
    codes = np.array([[1.0, 0.0], [0.8, 0.6]])
    assert match_codes(codes, np.array([[0.8, -0.6]])) == []
    assert [(i, j, verdict) for i, j, verdict, _ in match_codes(codes[:1], np.array([[0.8, -0.6]]))] == [
        (0, 0, "moved")
    ]


def test_a_kept_pair_is_not_given_up_for_a_higher_sum() -> None:
    # 0 is 10 degrees from 10; giving 10 away to 40 and 0 to -30 would add up to more.
    found = match_codes(turned(0, 40).double().numpy(), turned(10, -30).double().numpy())
    assert [(i, j, verdict) for i, j, verdict, _ in found] == [(0, 0, "kept")]


def test_twins_within_a_model_are_matched_in_order() -> None:
    bundle = answering(turned(0, 0, 0, 90), head(4))
    found = match(bundle, bundle)
    assert [(pair.before, pair.after, pair.similarity) for pair in found.pairs] == [(n, n, 1.0) for n in range(4)]


units = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def near_codes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of which some are alike."""
    before = rng.normal(size=(rng.integers(1, 9), 3))
    after = np.concatenate([before[rng.random(len(before)) < 0.7], rng.normal(size=(rng.integers(1, 5), 3))])
    after = after + rng.choice([0.0, 0.05, 0.4], size=(len(after), 1)) * rng.normal(size=after.shape)
    return tuple(codes / np.linalg.norm(codes, axis=1, keepdims=True) for codes in (before, after))


@given(units)
def test_swapping_the_models_swaps_the_answer_and_the_order_of_codes_changes_nothing(rng) -> None:
    before, after = near_codes(rng)
    found = set(match_codes(before, after))
    assert {(j, i, verdict, cosine) for i, j, verdict, cosine in found} == set(match_codes(after, before))
    rows, cols = rng.permutation(len(before)), rng.permutation(len(after))
    again = match_codes(before[rows], after[cols])
    assert {(int(rows[i]), int(cols[j]), verdict, cosine) for i, j, verdict, cosine in again} == found
    assert len({i for i, *_ in found}) == len({j for _, j, *_ in found}) == len(found)
    for i, j, verdict, cosine in found:
        assert cosine == pytest.approx(before[i] @ after[j])
        assert cosine >= (KEPT if verdict == "kept" else MOVED)


@given(units)
def test_the_assignment_is_the_best_of_all(rng) -> None:
    table = rng.random((rng.integers(1, 5), 5)) * (rng.random((1, 5)) < 0.7)
    left, right = np.nonzero(table)
    chosen = assign(left, right, table[left, right])
    best = max(sum(table[i, j] for i, j in enumerate(order)) for order in permutations(range(5), len(table)))
    assert table[left[chosen], right[chosen]].sum() == pytest.approx(best)
    assert len(set(left[chosen])) == len(set(right[chosen])) == len(chosen)


def test_no_edges_give_no_pairs() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert assign(nothing, nothing, np.zeros(0)).tolist() == []
    assert match_codes(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])) == []


def test_other_feature_spaces_are_told_apart() -> None:
    plain = answering(ONE_EACH, head(3))
    assert other_space(plain, plain) == ""
    assert "test_convnext and vit" in other_space(plain, answering(ONE_EACH, head(3), backbone=spec("vit")))
    assert "with other weights" in other_space(plain, answering(ONE_EACH, head(3), backbone=spec(digest="b" * 64)))
    raw = answering(ONE_EACH, head(3), norm=FeatureNorm("none"))
    assert "feature norms differ (l2 and none)" in other_space(plain, raw)
    mean = torch.tensor([1.0, 0.0, 0.0])
    centred = [answering(ONE_EACH, head(3), norm=FeatureNorm("center_l2", mean * scale)) for scale in (1.0, 1.02, 1.2)]
    assert other_space(centred[0], centred[1]) == ""
    assert "unlike tokens" in other_space(centred[0], centred[2])


def test_other_backbones_are_matched_by_the_patches_they_share() -> None:
    # The second looks at its images with 8 x 8 cells: cell (2, 2) of 4 x 4 holds (4, 4) and (5, 5) of them.
    before = answering(turned(0, 90), head(2), places=[[("a", 2, 2), ("b", 0, 0)], [("c", 1, 1), ("d", 3, 3)]])
    patches = [[("c", 2, 2), ("d", 3, 3)], [("x", 0, 0), ("y", 0, 0)], [("a", 4, 4), ("b", 1, 1)]]
    finer = replace(answering(turned(0, 90, 180), head(3), backbone=spec("vit"), places=patches), grid=(8, 8))
    found = match(before, finer)
    assert found.measure == "patches"
    assert "training patches that both are nearest to" in found.note
    assert [(pair.before, pair.after, pair.verdict, pair.similarity) for pair in found.pairs] == [(0, 2, "kept", 1.0)]
    assert (found.lost, found.new) == ((1,), (0, 1))
    shared = share_patches(before, finer)
    assert shared is not None
    assert shared.share.tolist() == [1.0]  # c is one cell in common, d none: one patch may be chance


@pytest.mark.parametrize(("cell", "alike"), [((0, 1), True), ((0, 2), True), ((1, 1), False), ((0, 0), False)])
def test_patches_are_one_where_half_of_the_smaller_lies_in_the_other(cell, alike) -> None:
    # Cell (0, 1) of 4 x 4 is 250 to 500 across and 0 to 250 down; of 5 x 5, (0, 1) lies in it by 150 of 200, (0, 2) by
    # 100 of 200, (1, 1) by 150 x 50 of 200 x 200, (0, 0) not at all.
    before = answering(turned(0), head(1), places=[[("a", 0, 1), ("b", 0, 1)]])
    after = replace(answering(turned(0), head(1), places=[[("a", *cell), ("b", *cell)]]), grid=(5, 5))
    shared = share_patches(before, after)
    assert shared is not None
    assert shared.share.tolist() == ([1.0] if alike else [])


def test_shared_patches_are_a_share_of_the_shorter_list() -> None:
    before = answering(turned(0), head(1), places=[[("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 0), ("e", 0, 0)]])
    after = answering(turned(0), head(1), backbone=spec("vit"), places=[[("a", 0, 0), ("b", 0, 0), ("x", 0, 0)]])
    for one, other in ((before, after), (after, before)):
        found = match(one, other)
        assert [(pair.verdict, pair.similarity) for pair in found.pairs] == [("kept", pytest.approx(2 / 3))]


def test_models_without_a_training_image_in_common_cannot_be_matched() -> None:
    before = answering(turned(0, 90), head(2))
    after = answering(turned(0, 90), head(2), backbone=spec("vit"), places=[[("x", 0, 0)], [("y", 0, 0)]])
    found = match(before, after)
    assert (found.measure, found.pairs, found.lost, found.new) == ("none", (), (), ())
    assert found.note.endswith("so prototypes cannot be matched")
