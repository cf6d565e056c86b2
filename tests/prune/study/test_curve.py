import math

import pytest

from protoquant.core.events import ignore
from protoquant.head.prune_plan import PrunePlan
from protoquant.prune.apply import starting_point
from protoquant.prune.engine import prune
from protoquant.prune.study.curve import MASKED, TUNED, area, areas, budget_curve
from tests.prune.conftest import CPU


def test_area_by_hand() -> None:
    assert area([1, 10, 100], [0.2, 0.4, 0.4]) == pytest.approx((0.3 + 0.4) / 2)
    assert area([1, 3], [0.5, 0.7]) == pytest.approx(0.6)
    assert area([2, 4, 16], [0.0, 1.0, 1.0]) == pytest.approx((0.5 * math.log(2) + math.log(4)) / math.log(8))


def test_each_budget_is_cut_from_the_head_as_it_came(bundle, stores) -> None:
    start = starting_point(PrunePlan(end=0.5), bundle, stores, device=CPU, on_event=ignore)
    curve = budget_curve((1, 3, 5, 50), start)
    assert curve["budget"].tolist() == [1, 3, 5, 0] * 2
    assert curve["way"].tolist() == [MASKED] * 4 + [TUNED] * 4
    masked = curve[curve["way"] == MASKED]
    assert masked["class_size"].tolist() == [1, 3, 5, 7]
    alone = prune(PrunePlan.top_k(3), start, ignore).row
    assert masked["validation_top1"].iloc[1] == alone.after.top1
    assert masked["prototypes"].iloc[1] == alone.size.prototypes
    assert set(areas(curve)) == {MASKED, TUNED}
