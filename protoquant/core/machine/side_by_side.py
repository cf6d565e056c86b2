"""Runs independent computations side by side, each on one core, so that no result depends on the number of cores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from protoquant.core.machine.prefetch import ahead

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], most: int) -> Generator[Result]:
    """Process items on threads that torch gives one core each; as many run at once as this thread may use cores.

    Many small operations are faster so than one after the other on all cores: each would wait for all its threads.
    Until the generator ends or is closed, torch has one core in this thread too.

    Args:
        work: Called with each item; draws no random numbers of torch's global generator.
        items: The items.
        most: Most items in progress, at least 1.

    Yields:
        The results, in the order of the items; an item's error is raised at its turn.
    """
    import torch

    threads = torch.get_num_threads()
    workers = max(1, min(threads, most, len(items)))
    pool = ThreadPoolExecutor(workers, "side by side", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from ahead(work, items, pool, workers)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
