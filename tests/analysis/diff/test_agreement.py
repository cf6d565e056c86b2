"""Prototypes matched one to one, by hand and against every order."""

from itertools import permutations

import numpy as np
import pytest
import torch

from protoquant.analysis.diff.agreement import agreement, matched_cosines
from tests.builders.bundles import answering
from tests.builders.tokens import turned, units


def test_prototypes_in_another_order_agree() -> None:
    codes = units(6, 8).double().numpy()
    assert matched_cosines(codes, codes[[3, 0, 5, 1, 4, 2]]).tolist() == pytest.approx([1.0] * 6)


def test_the_sum_is_the_largest_even_where_the_nearest_partner_is_wanted_twice() -> None:
    # The code at 0 degrees takes 5, the one at 10 takes 60: cos 5 + cos 50 > cos 60 + cos 5.
    found = matched_cosines(turned(0, 10).double().numpy(), turned(5, 60, 200).double().numpy())
    assert found.tolist() == pytest.approx(np.cos(np.deg2rad([5, 50])).tolist())


def test_no_order_of_few_codes_gives_more() -> None:
    first, second = (units(5, 4, seed).double().numpy() for seed in (1, 2))
    cosines = first @ second.T
    best = max(sum(cosines[row, col] for row, col in enumerate(order)) for order in permutations(range(5)))
    assert matched_cosines(first, second).sum() == pytest.approx(best)


def test_two_models_agree_as_far_as_their_codes_do() -> None:
    head = torch.eye(3)
    one, other = (answering(turned(*angles), head) for angles in ((0, 90, 200), (90, 200, 40)))
    found = agreement(one, other)
    assert found is not None
    assert found.mean == pytest.approx((2 + np.cos(np.deg2rad(40))) / 3)
    assert (found.alike, found.unmatched) == (pytest.approx(2 / 3), 0)
    assert found.chance < 1.0
