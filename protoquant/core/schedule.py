"""The learning rate of a step: a straight warm-up, then half a cosine."""

from math import cos, pi


def warmup_cosine(step: int, *, total: int, warmup: int, peak: float, floor: float) -> float:
    """Rise to the peak in ``warmup`` steps, then fall to the floor along half a cosine.

    ``peak * (t + 1) / warmup`` below ``warmup``, else ``floor + (peak - floor) * (1 + cos(pi * (t - warmup) /
    (total - warmup))) / 2``. The last step of the warm-up and the first after it run at the peak exactly; the
    floor is reached at ``total``, one step after the last, and holds from there on.

    Args:
        step: Steps done so far, t >= 0.
        total: Steps of the whole run, >= 1.
        warmup: Steps of the warm-up, in [0, total].
        peak: Highest learning rate, >= floor.
        floor: Learning rate at the end, >= 0.

    Returns:
        The learning rate of the next step.

    Raises:
        ValueError: total, warmup, peak or floor is out of range.

    Source:
        Loshchilov and Hutter 2017, eq. 5, with one period and the warm-up of Goyal et al. 2017, by steps.
    """
    if not (total >= 1 and 0 <= warmup <= total and 0.0 <= floor <= peak):
        raise ValueError(
            f"a schedule needs total >= 1, 0 <= warmup <= total and 0 <= floor <= peak, got total {total}, "
            f"warmup {warmup}, floor {floor}, peak {peak}"
        )
    if step < warmup:
        return peak * ((step + 1) / warmup)
    if step >= total:
        return floor
    share = (1.0 + cos(pi * (step - warmup) / (total - warmup))) / 2.0
    return peak * share + floor * (1.0 - share)
