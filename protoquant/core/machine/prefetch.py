"""Work done ahead of who takes its results: in threads, in order, a bounded number at a time."""

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
    """Do work on items in a pool's threads.

    Args:
        work: Called with each item.
        items: Taken as results are.
        pool: The threads.
        depth: Items at work or done and not yet taken, at least 1.

    Yields:
        The results, in the order of the items; what an item's work raises is raised at its turn. When the generator is
        closed, items that no thread has begun are given up.
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
