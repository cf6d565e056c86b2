"""The winner is the smallest model near the best; the front holds what nothing beats."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.sweep.choice import choose, front
from tests.builders.sweeps import tables


def table(*rows: tuple[float, float, int, int]) -> pd.DataFrame:
    """Done trials from accuracy, prototypes per class, codes and non-zero weights."""
    return pd.DataFrame(
        [
            {
                "trial": f"t{number}",
                "number": number,
                "state": "done",
                "accuracy": top1,
                "n": 200.0,
                "class_size": size,
                "k": float(k),
                "nonzeros": float(nonzeros),
                "prototypes": float(nonzeros),
            }
            for number, (top1, size, k, nonzeros) in enumerate(rows, start=1)
        ]
    )


def test_the_smallest_within_the_tolerance_wins_and_is_explained() -> None:
    choice = choose(table((0.95, 10, 200, 200), (0.94, 5, 100, 100), (0.939, 2, 40, 40)), 0.01)
    assert choice is not None
    assert (choice.trial, choice.best) == ("t2", "t1")
    assert choice.sentence == (
        "trial 2 (94.0 % of 200 held-out images, 5.0 prototypes per class, 100 codes) is the smallest model within "
        "1 point of the best, trial 1 (95.0 % of 200 held-out images, 10.0 prototypes per class, 200 codes)."
    )
    assert choice.interval[0] < 0.94 < choice.interval[1]
    assert "the best of 3 looks better than it is" in choice.caution


def test_balanced_accuracy_is_said_and_its_interval_is_that_of_fewer_images() -> None:
    trials = table((0.95, 10, 200, 200), (0.94, 5, 100, 100))
    choice, plain = choose(trials.assign(n=40.0), 0.01, "balanced_accuracy"), choose(trials, 0.01)
    assert choice is not None
    assert plain is not None
    assert choice.sentence.startswith("trial 2 (balanced accuracy 94.0 %, 5.0 prototypes per class, 100 codes) is the")
    assert choice.caution.startswith("With 40 held-out images, to which so many of unequal classes amount, the 95 %")
    assert choice.interval[1] - choice.interval[0] > 1.5 * (plain.interval[1] - plain.interval[0])


def test_of_equals_the_smaller_codebook_then_the_more_accurate_then_the_earlier() -> None:
    rows = [(0.95, 5, 100, 100), (0.95, 5, 50, 100), (0.955, 5, 50, 100), (0.955, 5, 50, 100)]
    choice = choose(table(*rows), 0.01)
    assert choice is not None
    assert (choice.trial, choice.best) == ("t3", "t3")
    assert choice.sentence.endswith("of the best, and is the best itself.")


def test_fewer_weights_come_before_fewer_prototypes_and_these_before_fewer_codes() -> None:
    weights = table((0.95, 5, 50, 110), (0.95, 5, 60, 100)).assign(prototypes=[40.0, 60.0])
    prototypes = table((0.95, 5, 50, 100), (0.95, 5, 60, 100)).assign(prototypes=[60.0, 40.0])
    for trials in (weights, prototypes):
        choice = choose(trials, 0.0)
        assert choice is not None
        assert choice.trial == "t2"


def test_exactly_the_tolerance_is_within() -> None:
    choice = choose(table((152 / 300, 5, 100, 100), (149 / 300, 5, 50, 50), (148 / 300, 5, 10, 10)), 0.01)
    assert choice is not None
    assert choice.trial == "t2"


def test_the_interval_is_wilsons_of_95_percent_by_hand() -> None:
    choice = choose(table((0.94, 5, 100, 100)), 0.0)
    assert choice is not None
    z = 1.959964
    middle, reach = 0.94 + z**2 / 400, z * (0.94 * 0.06 / 200 + z**2 / (4 * 200**2)) ** 0.5
    assert choice.interval == pytest.approx([(middle + side * reach) / (1 + z**2 / 200) for side in (-1, 1)], abs=1e-6)


def test_without_a_done_trial_nothing_is_chosen() -> None:
    trials, _ = tables()
    assert choose(trials[trials["state"] != "done"], 0.01) is None


number = st.floats(0, 1).map(lambda value: round(value, 2))


@given(st.lists(st.tuples(number, st.integers(1, 5).map(float), st.integers(1, 5), st.integers(1, 9)), min_size=1))
def test_nothing_beats_the_front_and_the_rest_is_beaten_by_it(rows: list[tuple[float, float, int, int]]) -> None:
    trials = table(*rows)
    points = {row["trial"]: (-row["accuracy"], row["class_size"], row["k"]) for row in trials.to_dict("records")}
    found = front(trials)

    def beaten(own: tuple[float, float, float]) -> list[str]:
        return [
            trial
            for trial, other in points.items()
            if other != own and all(a <= b for a, b in zip(other, own, strict=True))
        ]

    assert found == {trial for trial, own in points.items() if not beaten(own)}
    assert all(set(beaten(points[trial])) & found for trial in set(points) - found)
    choice = choose(trials, 0.0)
    assert choice is not None
    assert trials.set_index("trial").loc[choice.trial, "accuracy"] == trials["accuracy"].max()
