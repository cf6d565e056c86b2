import pickle
from dataclasses import dataclass, replace
from functools import partial

import pytest

from protoquant.core.lazy_fields import later, may_come_later


@may_come_later("table")
@dataclass(frozen=True)
class Kept:
    name: str
    table: list[int]
    rest: int = 0


def made(numbers: list[int]) -> list[int]:
    numbers.append(len(numbers))
    return list(numbers)


def test_a_value_is_made_on_the_first_look_and_once() -> None:
    looks: list[int] = []
    kept = Kept("a", later(partial(made, looks)))
    assert looks == []
    assert kept.table == [0]
    assert kept.table is kept.table
    assert looks == [0]


def test_a_value_that_is_there_is_taken_as_it_is() -> None:
    table = [1, 2]
    assert Kept("a", table).table is table
    assert Kept("a", table) == Kept("a", later(lambda: [1, 2]))


def test_what_making_raises_is_raised_at_each_look() -> None:
    def fail() -> list[int]:
        raise ValueError("damaged")

    kept = Kept("a", later(fail))
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            _ = kept.table


def test_a_field_must_be_given_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="table"):
        Kept("a")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Kept("a", []).table = [1]  # type: ignore[misc]


def test_a_copy_makes_its_own_and_a_changed_one_holds_what_was_made() -> None:
    looks: list[int] = []
    kept = Kept("a", later(partial(made, looks)))
    assert pickle.loads(pickle.dumps(kept)).table == [0]  # noqa: S301
    assert looks == []
    assert replace(kept, name="b").table is kept.table
    assert looks == [0]
