import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protoquant.analysis.drift.numbers import DriftVerdict, compare, distances, judge, mean_presence, share_test
from protoquant.model.reference import BINS
from tests.builders.references import counts


def verdicts(train, validation, now):
    parts = compare(tuple(range(len(now[1]))), counts(train=train, validation=validation, now=now))
    return [part.verdict for part in parts]


def test_shares_ratio_and_verdict_by_hand():
    found = compare(
        (3, 8, 11, 20, 21),
        counts(
            train=(200, [80, 80, 80, 2, 40]),
            validation=(100, [36, 40, 40, 1, 20]),
            now=(100, [2, 18, 36, 30, 44]),
        ),
    )
    assert [part.prototype for part in found] == [3, 8, 11, 20, 21]
    assert [part.verdict for part in found] == ["vanished", "rarer", "steady", "appeared", "more frequent"]
    first = found[0]
    assert (first.train, first.validation, first.now) == (0.4, 0.36, 0.02)
    assert first.ratio == pytest.approx(0.02 / 0.36)  # against the nearer of the two
    assert found[3].ratio == pytest.approx(30.0)
    assert first.mean_train == pytest.approx(0.4 * 19 / 20)


def test_between_training_and_validation_nothing_has_moved():
    """Half of the training images show the part, a tenth of validation: the gap is not of the new images."""
    (part,) = compare((0,), counts(train=(1000, [500]), validation=(1000, [100]), now=(1000, [100])))
    assert part.q_value < 1e-6
    assert part.ratio == 1.0
    assert part.verdict is DriftVerdict.STEADY
    assert verdicts((1000, [500]), (1000, [100]), (1000, [20])) == [DriftVerdict.RARER]
    assert verdicts((1000, [500]), (1000, [100]), (1000, [70])) == [DriftVerdict.STEADY]  # sure, but of small size
    assert verdicts((1000, [500]), (40, [4]), (100, [4])) == [
        DriftVerdict.STEADY
    ]  # of size, but validation is too small


def test_few_images_decide_nothing():
    assert verdicts((600, [60]), (200, [20]), (10, [0])) == [DriftVerdict.STEADY]
    assert verdicts((600, [60]), (200, [20]), (400, [0])) == [DriftVerdict.VANISHED]


def test_a_change_of_less_than_an_image_in_a_hundred_is_steady():
    assert verdicts((100_000, [800]), (100_000, [800]), (100_000, [10])) == [DriftVerdict.STEADY]


def test_p_values_are_those_of_the_hypergeometric_distribution():
    def by_hand(one, of_one, other, of_other):
        n, drawn = of_one + of_other, one + other
        ways = [
            Fraction(math.comb(of_one, k) * math.comb(of_other, drawn - k), math.comb(n, drawn))
            for k in range(drawn + 1)
        ]
        return float(sum(way for way in ways if way <= ways[one]))

    for table in ((0, 12, 5, 20), (3, 9, 3, 9), (8, 8, 1, 30), (0, 5, 0, 7)):
        assert share_test(*table) == pytest.approx(by_hand(*table))


def test_false_alarms_are_held_over_all_prototypes():
    """Benjamini and Hochberg's adjusted values, by their own rule."""
    seen = [40, 28, 27, 30, 20, 45]
    found = compare(tuple(range(6)), counts(train=(100, [40] * 6), validation=(100, [40] * 6), now=(100, seen)))
    p = np.array([part.p_value for part in found])
    order = np.argsort(p)
    adjusted = np.empty(6)
    least = 1.0
    for rank in range(6, 0, -1):
        least = min(least, p[order[rank - 1]] * 6 / rank)
        adjusted[order[rank - 1]] = least
    assert [part.q_value for part in found] == pytest.approx(list(adjusted))


def test_distance_is_the_root_of_the_divergence_in_bits():
    one, other = np.zeros((3, BINS), dtype=np.int64), np.zeros((3, BINS), dtype=np.int64)
    one[:, 0], other[0, 0], other[1, 5], other[2, [0, 5]] = 4, 9, 9, 5
    middle = np.array([0.75, 0.25])
    divergence = (stats.entropy([1, 0], middle, base=2) + stats.entropy([0.5, 0.5], middle, base=2)) / 2
    assert distances(one, other) == pytest.approx([0.0, 1.0, math.sqrt(divergence)])


def test_mean_presence_counts_a_part_that_is_nowhere_as_nothing():
    row = np.zeros((1, BINS), dtype=np.int64)
    row[0, [0, 10, 19]] = 6, 2, 2
    assert mean_presence(row) == pytest.approx([(2 * 0.5 + 2 * 0.95) / 10])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 4))
def test_the_same_histograms_are_no_drift(seen, more):
    same = counts(train=(50, seen), validation=(50, seen), now=(50 * more, [one * more for one in seen]))
    for part in compare(tuple(range(len(seen))), same):
        assert part.verdict is DriftVerdict.STEADY
        assert part.ratio == pytest.approx(1.0)
        assert part.distance == pytest.approx(0.0, abs=1e-6)


MIRROR = {
    DriftVerdict.VANISHED: DriftVerdict.APPEARED,
    DriftVerdict.RARER: DriftVerdict.MORE_FREQUENT,
    DriftVerdict.STEADY: DriftVerdict.STEADY,
    DriftVerdict.MORE_FREQUENT: DriftVerdict.RARER,
    DriftVerdict.APPEARED: DriftVerdict.VANISHED,
}


@given(st.integers(0, 200), st.integers(0, 200))
def test_what_vanishes_one_way_appears_the_other(before, now):
    assert judge(now / 200, before / 200) is MIRROR[judge(before / 200, now / 200)]
    there = verdicts((200, [before]), (200, [before]), (200, [now]))
    back = verdicts((200, [now]), (200, [now]), (200, [before]))
    assert back == [MIRROR[there[0]]]


@pytest.mark.parametrize(
    ("base", "now", "verdict"),
    [
        (0.5, 0.05, DriftVerdict.VANISHED),
        (0.75, 0.5, DriftVerdict.RARER),
        (0.5, 0.75, DriftVerdict.MORE_FREQUENT),
        (0.05, 0.5, DriftVerdict.APPEARED),
        (0.02, 0.01, DriftVerdict.RARER),
        (0.02, 0.0101, DriftVerdict.STEADY),
    ],
)
def test_the_limits_of_the_verdicts_belong_to_the_larger_change(base, now, verdict):
    assert judge(base, now) is verdict


def test_of_many_prototypes_one_that_is_rare_by_chance_alone_has_not_moved():
    """p = 0.03 is sure of one prototype; of forty, one such is what chance gives."""
    steady = [400] * 39
    alone = verdicts((1000, [400]), (1000, [400]), (60, [15]))
    among = verdicts((1000, [400, *steady]), (1000, [400, *steady]), (60, [15, *[24] * 39]))
    assert alone == [DriftVerdict.RARER]
    assert among == [DriftVerdict.STEADY] * 40


@given(st.permutations(range(6)))
def test_the_order_of_the_prototypes_does_not_matter(order):
    given_counts = counts(
        train=(100, [40, 30, 20, 5, 50, 1]), validation=(60, [24, 18, 12, 3, 30, 0]), now=(80, [0, 24, 30, 4, 41, 20])
    )
    straight = {part.prototype: part for part in compare(tuple(range(6)), given_counts)}
    turned = compare(tuple(order), {name: rows[list(order)] for name, rows in given_counts.items()})
    for part in turned:
        assert part.verdict == straight[part.prototype].verdict
        assert part.q_value == pytest.approx(straight[part.prototype].q_value)
