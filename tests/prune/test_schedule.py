import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import DataError
from protoquant.head.prune_plan import PrunePlan
from protoquant.prune.schedule import constant, counts_left, geometric, logarithmic, ratios_of


def test_by_hand() -> None:
    assert constant(0.5, 0.2) == pytest.approx((0.2, 0.4, 0.5))
    assert constant(0.8, 0.1) == pytest.approx([0.1 * n for n in range(1, 9)])  # no ninth step from rounding
    assert constant(0.5, 0.2, 0.3) == pytest.approx((0.3, 0.5))
    assert geometric(0.75, 0.5) == (0.5, 0.75)
    assert geometric(0.8, 0.5) == pytest.approx((0.5, 0.75, 0.8))
    assert geometric(0.9, 0.2, 0.5) == pytest.approx((0.5, 0.6, 0.68, 0.744, 0.7952, 0.83616, 0.868928, 0.8951424, 0.9))
    assert logarithmic(0.7, 0.35) == pytest.approx((0.7 * 2 / 3, 0.7))  # sizes 2 and 1
    assert logarithmic(0.9, 0.3) == pytest.approx((0.9 * 3 / (4 + 3**0.5), 0.9 * (3 + 3**0.5) / (4 + 3**0.5), 0.9))


@pytest.mark.parametrize(("step", "end"), [(0.2, 0.9), (0.5, 0.8)])
def test_geometric_does_not_overshoot_where_the_study_does(step, end) -> None:
    """Its code ends at 0.914 and 0.875."""
    assert geometric(end, step)[-1] == end


SHARE = st.floats(0.01, 0.99)


@given(name=st.sampled_from(["one_shot", "constant", "geometric", "logarithmic", "hybrid"]), end=SHARE, data=st.data())
def test_every_schedule_rises_and_hits_its_end(name, end, data) -> None:
    keys = {"end": end, "schedule": name}
    if name != "one_shot":
        keys["step"] = data.draw(st.floats(0.005, 1.0))
    if name == "hybrid":
        keys["start"] = data.draw(st.floats(0.001, 0.999)) * end
    elif name in {"constant", "logarithmic"}:
        keys["start"] = data.draw(st.one_of(st.none(), st.floats(0.001, 0.999).map(lambda share: share * end)))
    ratios = ratios_of(PrunePlan(**keys), end)
    assert ratios[-1] == end
    assert all(0 < a < b for a, b in itertools.pairwise(ratios))
    if name in {"geometric", "hybrid"}:
        left = [1 - ratio for ratio in ((keys.get("start", 0.0)), *ratios[(name == "hybrid") :])]
        for before, after in itertools.pairwise(left):
            assert before - after <= keys["step"] * before + 1e-6


@given(end=st.floats(0.0, 0.99), total=st.integers(1, 5000), step=st.floats(0.05, 0.9))
def test_a_count_removes_exactly_the_rounded_share(end, total, step) -> None:
    ratios = geometric(end, step) if end > 0 else (0.0,)
    removed = round(end * total)
    if removed == total:
        with pytest.raises(DataError, match="leaves nothing"):
            counts_left(ratios, total)
        return
    left = counts_left(ratios, total)
    assert left[-1] == total - removed
    assert all(a > b for a, b in itertools.pairwise(left))


def test_manual_ratios_are_taken_as_they_are() -> None:
    assert ratios_of(PrunePlan(schedule="manual", ratios=(0.1, 0.6)), 0.6) == (0.1, 0.6)


def test_a_first_cut_beyond_a_class_budget_is_refused() -> None:
    plan = PrunePlan(unit="class_budget", budget=5, schedule="hybrid", start=0.6, step=0.2)
    with pytest.raises(DataError, match=r"start 0\.6 removes more than the target does \(0\.5\)"):
        ratios_of(plan, 0.5)
