import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.schedule import warmup_cosine


def rates(total, warmup, peak=5e-4, floor=1e-6):
    return [warmup_cosine(step, total=total, warmup=warmup, peak=peak, floor=floor) for step in range(total + 2)]


def test_a_short_run_worked_by_hand():
    assert rates(6, 2, peak=8.0, floor=2.0) == pytest.approx(
        [4.0, 8.0, 8.0, 5.0 + 3.0 * math.cos(math.pi / 4), 5.0, 5.0 - 3.0 * math.cos(math.pi / 4), 2.0, 2.0]
    )


@given(st.integers(1, 400), st.data(), st.floats(1e-6, 10.0), st.floats(0.0, 1.0))
def test_the_peak_and_the_floor_are_met_exactly_and_never_passed(total, data, peak, share):
    warmup = data.draw(st.integers(0, total - 1))
    found = rates(total, warmup, peak, share * peak)
    assert found[warmup] == peak
    assert warmup == 0 or found[warmup - 1] == peak
    assert found[total] == found[total + 1] == share * peak
    assert found[:warmup] == sorted(found[:warmup])
    assert all(
        after <= before * (1 + 1e-12) for before, after in zip(found[warmup:], found[warmup + 1 :], strict=False)
    )
    assert all(0.0 <= rate <= peak * (1 + 1e-12) for rate in found)


def test_a_run_of_warm_up_alone_ends_at_the_peak():
    assert rates(4, 4, peak=1.0)[:4] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    "values", [{"total": 0}, {"warmup": 11}, {"warmup": -1}, {"floor": 2.0}, {"floor": -1.0}, {"peak": float("nan")}]
)
def test_an_impossible_schedule_is_refused(values):
    with pytest.raises(ValueError, match="a schedule needs"):
        warmup_cosine(0, **{"total": 10, "warmup": 2, "peak": 1.0, "floor": 0.0, **values})
