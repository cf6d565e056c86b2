"""Runs work in threads ahead of its consumer: in order, with a bounded number of items at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, depth: int
) -> Generator[Result]:
    """Process items in the threads of a pool.

    Args:
        work: Called with each item.
        items: Read only as fast as results are taken.
        pool: The threads.
        depth: Most items in progress, or finished and not yet taken, at least 1.

    Yields:
        The results, in the order of the items; an item's error is raised at its turn. Closing the generator cancels
        items that no thread has started.
    """
    waiting = iter(items)
    flying: deque[Future[Result]] = deque(pool.submit(work, one) for one in islice(waiting, depth))
    try:
        while flying:
            yield flying.popleft().result()
            flying.extend(pool.submit(work, one) for one in islice(waiting, 1))
    finally:
        for future in flying:
            future.cancel()
