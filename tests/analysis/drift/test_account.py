"""What is told of the numbers, from numbers made by hand."""

from dataclasses import replace
from types import SimpleNamespace

from protoquant.analysis.drift.account import Abstaining, DriftAnalysis, _users
from protoquant.analysis.drift.numbers import compare
from tests.builders.references import counts

PARTS = compare(
    (3, 8, 20, 21),
    counts(train=(200, [40, 80, 80, 2]), validation=(100, [20, 40, 40, 1]), now=(100, [44, 40, 2, 30])),
)
ACCOUNT = DriftAnalysis(
    measured=SimpleNamespace(images=100),
    sizes=(200, 100),
    parts=PARTS,
    classes=(),
    abstaining=Abstaining(1.0, 0.1, 0.1, 1.0),
    mix=(0.5, 0.001),
    users={},
    names=(),
)


def test_the_largest_change_comes_first_whether_a_part_gains_or_loses() -> None:
    assert [part.prototype for part in ACCOUNT.moved] == [20, 21, 3]  # -0.38, +0.29, +0.24


def test_where_the_model_abstains_more_the_mix_of_its_classes_says_nothing() -> None:
    assert ACCOUNT.other_mix
    assert not replace(ACCOUNT, abstaining=Abstaining(1.0, 0.1, 0.5, 1e-6)).other_mix
    assert replace(ACCOUNT, abstaining=Abstaining(1.0, 0.5, 0.1, 1e-6)).other_mix
    assert not replace(ACCOUNT, mix=(0.5, 0.2)).other_mix


def test_the_class_that_weighs_a_part_most_comes_first() -> None:
    assert _users([0.5, 2.0, 0.0, 2.0]) == (1, 3, 0)


def test_a_model_fitted_on_validation_says_so() -> None:
    said = replace(ACCOUNT, in_sample=True).sentence()
    assert said == f"{ACCOUNT.sentence()[:-1]}; the model was fitted on validation too, so small changes may be none."
