from protoquant.pages.palette import SCALE
from protoquant.sweep.page.size_chart import size_chart
from tests.builders.sweeps import tables


def test_each_head_before_joint_training_is_drawn_in_the_colour_of_its_trial() -> None:
    trials, surface = tables()
    surface.loc[0, "class_size"] = 0.0
    surface.loc[1, "final"] = True
    shown = size_chart(trials, surface.sample(frac=1.0, random_state=0), {"t11", "t2", "bad"})
    assert list(shown.done["number"]) == list(range(1, 13))
    assert (shown.colours["t1"], shown.colours["t12"]) == (SCALE[0], SCALE[-1])  # 16 codes and 2048
    assert shown.colours["t1"] == shown.colours["t2"] != shown.colours["t3"]
    assert sorted(len(path.heads) for path in shown.paths) == [18, *[20] * 11]
    for path in shown.paths:
        assert path.heads["class_size"].is_monotonic_increasing
        assert path.colour == shown.colours[path.heads["trial"].iloc[0]]
    assert list(shown.front["trial"]) == ["t2", "t11"]


def test_codebooks_of_one_size_have_one_colour() -> None:
    trials, surface = tables()
    assert set(size_chart(trials.head(2), surface, set()).colours.values()) == {SCALE[0]}
