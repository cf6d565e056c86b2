"""Sufficient sets and pairs of classes, worked out by hand and against their definition."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protoquant.core.errors import ShapeError
from protoquant.evaluation.metrics.funnybirds.classes import ClassParts


def sets(values: list[list[int]]) -> list[list[set[int]]]:
    found = ClassParts(np.array(values)).sufficient
    return [[set(np.flatnonzero(one).tolist()) for one in of_class] for of_class in found]


def test_sufficient_sets_by_hand() -> None:
    # Only class 0 has a 0 in part 1, only class 2 a 1 in part 0; class 1 shares each part with another class.
    assert sets([[0, 0], [0, 1], [1, 1]]) == [[{1}], [{0, 1}], [{0}]]


def test_a_set_is_minimal_and_there_can_be_several() -> None:
    # Class 2 is told by part 0 alone; every larger set with part 0 is no longer minimal.
    found = sets([[0, 0, 0], [0, 1, 1], [1, 0, 1]])
    assert found == [[{2}, {0, 1}], [{1}, {0, 2}], [{0}, {1, 2}]]


def test_two_classes_with_all_parts_alike_have_no_sufficient_set() -> None:
    assert sets([[0, 1], [0, 1], [1, 1]]) == [[], [], [{0}]]


values = st.tuples(st.integers(2, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3))
)


@given(values=values)
def test_sufficient_sets_are_those_of_the_definition(values: np.ndarray) -> None:
    c, p = values.shape
    every = [set(one) for size in range(1, p + 1) for one in combinations(range(p), size)]

    def tells(label: int, chosen: set[int]) -> bool:
        return not any(
            all(values[other, i] == values[label, i] for i in chosen) for other in range(c) if other != label
        )

    expected = [
        [one for one in every if tells(label, one) and not any(less < one and tells(label, less) for less in every)]
        for label in range(c)
    ]
    assert sets(values.tolist()) == expected


def test_the_first_pair_that_shares_no_part_twice() -> None:
    rows = [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    # Class 0 shares parts 0, 1 with class 1; 0, 2 with class 2; 2, 3 with class 3; 3, 4 with class 4; three with 5.
    pair = ClassParts(np.array(rows)).pairs[0]
    assert pair is not None
    assert [one.label for one in pair] == [1, 3]
    assert [np.flatnonzero(one.shared).tolist() for one in pair] == [[0, 1], [2, 3]]


def test_no_pair_is_none_not_the_last_one_that_was_tried() -> None:
    overlapping = [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]]
    assert ClassParts(np.array(overlapping)).pairs[0] is None
    assert ClassParts(np.array([[0, 0], [0, 0], [1, 1]])).pairs == (None, None, None)


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_classes_need_parts(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="class parts must have shape"):
        ClassParts(np.zeros(shape, dtype=np.int64))
