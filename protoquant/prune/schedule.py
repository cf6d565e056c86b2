"""Schedules, which divide the way to a target into steps; every ratio is a share of the count at the start."""

import math
from collections.abc import Sequence

from protoquant.core.errors import DataError
from protoquant.head.prune_plan import PrunePlan

_ROUNDING = 1e-9


def ratios_of(plan: PrunePlan, end: float) -> tuple[float, ...]:
    """The shares that are removed after each step of a plan.

    Args:
        plan: Gives the schedule, start, step and ratios.
        end: Share to remove, in [0, 1).

    Returns:
        Rising shares; the last is exactly ``end``.

    Raises:
        DataError: ``start`` is not below ``end``, which for a class budget is known only now.
    """
    step, start = plan.step or 0.0, plan.start or 0.0
    if plan.ratios is not None:
        return plan.ratios
    if plan.schedule == "one_shot":
        return (end,)
    if start >= end:
        raise DataError(f"start {start:g} removes more than the target does ({end:g}); lower start, or use one_shot")
    if plan.schedule == "constant":
        return constant(end, step, start)
    if plan.schedule == "logarithmic":
        return logarithmic(end, step, start)
    return geometric(end, step, start)


def constant(end: float, step: float, start: float = 0.0) -> tuple[float, ...]:
    """Steps of equal size; the last one is the remainder.

    Args:
        end: Share to remove, in (0, 1).
        step: Size of a step, > 0.
        start: First cut, in [0, end); 0: none.
    """
    count = math.ceil((end - start) / step - _ROUNDING)
    between = tuple(start + number * step for number in range(1, count))
    return (*_first(start), *between, end)


def geometric(end: float, step: float, start: float = 0.0) -> tuple[float, ...]:
    """Each step removes a share of what is left, the last min(step * left, left - (1 - end)).

    Args:
        end: Share to remove, in (0, 1).
        step: Share of what is left, in (0, 1].
        start: First cut, in [0, end); 0: none. With a first cut this is the hybrid schedule.

    Source:
        The one-shot / iterative study (arXiv 2508.13836), with the last step corrected, since its code overshoots.
    """
    found, left = list(_first(start)), 1.0 - start
    while left * (1.0 - step) > (1.0 - end) + _ROUNDING:
        left *= 1.0 - step
        found.append(1.0 - left)
    return (*found, end)


def logarithmic(end: float, step: float, start: float = 0.0) -> tuple[float, ...]:
    """Falling steps, proportional to a geometric sequence of n = (end - start) / step terms from n to 1.

    Args:
        end: Share to remove, in (0, 1).
        step: Mean size of a step, > 0.
        start: First cut, in [0, end); 0: none.
    """
    count = max(1, round((end - start) / step))
    sizes = [count ** (1.0 - number / max(1, count - 1)) for number in range(count)]
    total, gone, found = sum(sizes), 0.0, list(_first(start))
    for size in sizes[:-1]:
        gone += size
        found.append(start + (end - start) * gone / total)
    return (*found, end)


def counts_left(ratios: Sequence[float], total: int) -> tuple[int, ...]:
    """Units left after each step: the total less the rounded share; a step with the count of an earlier one is dropped.

    Args:
        ratios: Rising shares in [0, 1).
        total: Units at the start.

    Returns:
        Falling counts; the last is exactly ``total - round(end * total)``.

    Raises:
        DataError: Nothing would be left.
    """
    left = [total - round(ratio * total) for ratio in ratios]
    if left[-1] < 1:
        raise DataError(f"to remove {ratios[-1]:g} of {total} leaves nothing; lower end, or prune something larger")
    return tuple(dict.fromkeys(left))


def _first(start: float) -> tuple[float, ...]:
    return (start,) if start > 0 else ()
