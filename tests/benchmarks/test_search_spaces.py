import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search_spaces import RANGES, SEARCHES, Between, OneOf

SEEDS = st.integers(0, 5)
NUMBERS = st.integers(0, 200)


def plan(name, seed=0, number=0):
    search = SEARCHES[name]
    return search.sections(search.setting(seed, number))


def test_a_place_in_a_range_by_hand() -> None:
    assert [Between(0.01, 100.0).at(place) for place in (0.0, 0.25, 0.5, 0.75)] == [0.01, 0.1, 1.0, 10.0]
    assert [OneOf(("a", "b", "c")).at(place) for place in (0.0, 0.34, 0.67, 0.999)] == ["a", "b", "c", "c"]


@given(seed=SEEDS, number=NUMBERS)
@pytest.mark.parametrize("name", SEARCHES)
def test_draws_lie_in_their_ranges_and_give_sections_that_may_be(name, seed, number) -> None:
    search = SEARCHES[name]
    setting = search.setting(seed, number)
    assert tuple(setting) == search.keys
    for key, value in setting.items():
        known = RANGES[key]
        assert value in known.values if isinstance(known, OneOf) else known.low <= value <= known.high
    coding, training = search.sections(setting)
    size = setting.get("codes per class", setting.get("codes per class, class-aware"))
    assert (coding.size, training.temperature) == (size, setting["temperature"])


def test_draws_repeat_and_differ_between_seeds_and_trials() -> None:
    search = SEARCHES["ours"]
    drawn = [search.setting(seed, number) for seed in range(3) for number in range(24)]
    assert len({str(one) for one in drawn}) == 72
    assert drawn[0] == search.setting(0, 0)


@given(seed=SEEDS, number=NUMBERS)
def test_searches_share_what_both_draw(seed, number) -> None:
    settings = [search.setting(seed, number) for search in SEARCHES.values()]
    for key in RANGES:
        assert len({one[key] for one in settings if key in one}) == 1


def without_joint(training):
    return training.model_copy(update={"joint": None})


def test_every_step_changes_one_thing() -> None:
    """Codes alone, then the head alone, then joint training alone; and codes of the paper's method move or not."""
    paper, trained, class_aware, convex, joint, ours = (plan(name) for name in SEARCHES)
    assert paper[0] == trained[0]
    assert paper[1] == without_joint(trained[1]) != trained[1]
    assert paper[1] == class_aware[1]
    assert class_aware[0] == convex[0] == joint[0] != paper[0]
    assert convex[1] == without_joint(joint[1]) != joint[1]
    assert joint[1] == ours[1]
    assert joint[0] == ours[0].model_copy(update={"layers": ("last",)}) != ours[0]


def test_the_methods_are_what_their_names_say() -> None:
    coding, training = plan("paper-trained")
    assert (coding.learner, coding.gradient.lr_scale, training.solver) == ("gradient", "absolute", "gradient")
    assert (training.joint.prototype_dropout, training.prune.unit) == (0.0, "class_budget")
    assert len(training.gradient.penalties) == 1
    assert training.prune.gradient.lr != training.gradient.lr
    coding, training = plan("ours")
    assert (coding.seeding, coding.epochs, training.solver) == ("class_aware", 0, "budget")
    assert (training.prune, training.choice) == (None, None)
