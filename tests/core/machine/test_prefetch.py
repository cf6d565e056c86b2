"""Work in threads, in order, a bounded number at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from protoquant.core.machine.prefetch import ahead


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as made:
        yield made


def test_results_stand_in_the_order_of_the_items(pool):
    later = threading.Event()

    def work(number):
        if number == 0:
            assert later.wait(10)
        elif number == 2:
            later.set()
        return number * number

    assert list(ahead(work, range(5), pool, 3)) == [0, 1, 4, 9, 16]


def test_no_more_items_are_taken_than_the_depth(pool):
    taken = []
    results = ahead(str, (taken.append(one) or one for one in range(100)), pool, 4)
    assert not taken
    for number in range(10):
        assert next(results) == str(number)
        assert len(taken) <= number + 4
    results.close()


def test_an_error_comes_at_its_turn_and_nothing_after_it_is_begun(pool):
    begun = []

    def work(number):
        begun.append(number)
        if number == 1:
            raise ValueError(number)
        return number

    results = ahead(work, range(100), pool, 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="1"):
        next(results)
    pool.shutdown()
    assert len(begun) <= 3


def test_what_no_thread_has_begun_is_given_up_when_closed(pool):
    hold, begun = threading.Event(), []

    def work(number):
        begun.append(number)
        if number:
            hold.wait(10)
        return number

    results = ahead(work, range(100), pool, 50)
    assert next(results) == 0
    results.close()
    hold.set()
    pool.shutdown()
    assert len(begun) < 50
