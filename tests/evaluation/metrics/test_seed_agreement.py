from itertools import permutations

import numpy as np
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.evaluation.metrics.seed_agreement import in_space_of, match, random_codes
from tests.builders.tokens import turned, units


def test_prototypes_in_another_order_agree() -> None:
    codes, order = units(6, 8).numpy(), np.array([3, 0, 5, 1, 4, 2])
    found = match(codes, codes[order])
    assert found.second.tolist() == np.argsort(order).tolist()
    assert found.cosines.tolist() == pytest.approx([1.0] * 6)
    assert (found.alike.mean(), found.unmatched) == (1.0, 0)


def test_the_sum_is_the_largest_even_where_the_nearest_partner_is_wanted_twice() -> None:
    first, second = turned(0, 10).numpy(), turned(5, 60, 200).numpy()
    found = match(first, second)
    # The code at 0 degrees takes 5, the one at 10 takes 60: cos 5 + cos 50 > cos 60 + cos 5.
    assert found.second.tolist() == [0, 1]
    assert found.cosines.tolist() == pytest.approx(np.cos(np.deg2rad([5, 50])).tolist())
    assert (found.alike.tolist(), found.unmatched) == ([1.0, 0.0], 1)


def test_no_order_of_few_codes_gives_more() -> None:
    first, second = units(5, 4, 1).numpy(), units(5, 4, 2).numpy()
    cosines = first.astype(np.float64) @ second.T
    best = max(sum(cosines[row, col] for row, col in enumerate(order)) for order in permutations(range(5)))
    assert match(first, second).cosines.sum() == pytest.approx(best)


def test_without_prototypes_nothing_is_matched() -> None:
    found = match(np.zeros((0, 4)), units(2, 4).numpy())
    assert (len(found.cosines), found.unmatched) == (0, 2)


def test_random_codes_are_far_from_each_other() -> None:
    first, second = (random_codes(50, 256, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(50))
    assert match(first, second).cosines.mean() < 0.25


def test_codes_of_an_equal_space_stay_and_others_go_through_their_tokens() -> None:
    tokens = 3.0 * units(4, 8, 3) + 0.5
    centred = FeatureNorm("center_l2", torch.full((8,), 0.1))
    own = Codebook(centred.units(tokens), centred)
    assert in_space_of(FeatureNorm("center_l2", torch.full((8,), 0.1)), own, tokens) == pytest.approx(own.codes.numpy())
    # A code that is a token's own direction has that token's direction in the other space too.
    expected = FeatureNorm("l2").units(tokens.double()).numpy()
    assert in_space_of(FeatureNorm("l2"), own, tokens) == pytest.approx(expected, abs=1e-6)
