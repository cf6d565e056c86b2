"""Computations side by side: in order, one core each, errors at their turn, torch's threads as before."""

import threading
from collections.abc import Iterator

import pytest
import torch

from protoquant.core.machine.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_items_run_at_the_same_time_on_one_core_each_and_come_in_order() -> None:
    meet = threading.Barrier(3, timeout=30)

    def work(number: int) -> tuple[int, int]:
        meet.wait()  # passes only if three are here at once
        return number, torch.get_num_threads()

    assert list(side_by_side(work, range(6), 5)) == [(number, 1) for number in range(6)]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("most", [1, 2])
def test_at_most_so_many_run_at_once(most: int) -> None:
    seen = set(side_by_side(lambda _: threading.current_thread().name, range(20), most))
    assert 1 <= len(seen) <= most


def test_an_error_is_raised_at_its_turn_and_the_threads_are_as_before() -> None:
    found = side_by_side(lambda number: 6 // (2 - number), range(9), 2)
    assert [next(found), next(found)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert torch.get_num_threads() == 3


def test_nothing_to_do_is_done() -> None:
    assert list(side_by_side(str, [], 4)) == []
