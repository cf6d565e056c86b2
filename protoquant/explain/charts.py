"""Numbers of two small charts in drawing units: the dots of stability, and the histogram of grounding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from protoquant.explain.figures import Axis, Tick, axis

ROW = 48.0
"""Height of a row of dots, in drawing units."""


@dataclass(frozen=True)
class Dot:
    """A value of a row in drawing units, with its series and its tooltip."""

    x: float
    y: float
    series: int
    text: str


@dataclass(frozen=True)
class DotRow:
    """The values of one name: top and middle of its band, and one dot for each series, each below the last."""

    name: str
    top: float
    y: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Dots:
    """Rows of dots over a common axis.

    Attributes:
        x: Axis of shares, to 100 %.
        rows: From the top down.
        series: Names of the dots' series, in order.
        height: Height of the plot, in drawing units.
    """

    x: Axis
    rows: tuple[DotRow, ...]
    series: tuple[str, ...]
    height: float


def dots(values: Mapping[str, Sequence[float]], series: Sequence[str], width: float) -> Dots:
    """Lay out shares, one row for each name.

    Args:
        values: For each row, one share per series, in [0, 1]; at least one row.
        series: Names of the series.
        width: Width of the plot, in drawing units.

    Returns:
        The dots; the axis ends at 100 % and begins at a round value below the smallest share.
    """
    least = min(min(row) for row in values.values())
    x = axis(min(least, 0.99), 1.0, 0.0, width, 5, percent=True)
    rows = tuple(
        DotRow(
            name,
            ROW * place,
            ROW * (place + 0.5),
            tuple(
                Dot(
                    x.at(value),
                    round(ROW * (place + (number + 1) / (len(series) + 1)), 2),
                    number,
                    f"{name}, {series[number]}: {100 * value:.1f} %",
                )
                for number, value in enumerate(row)
            ),
        )
        for place, (name, row) in enumerate(values.items())
    )
    return Dots(x, rows, tuple(series), ROW * len(rows))


@dataclass(frozen=True)
class HistogramBar:
    """A bar of a histogram, in drawing units, with its tooltip."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """Counts over bins of equal width.

    Attributes:
        x: Axis of the values.
        y: Axis of the counts, pointing up.
        bars: The bars that are not empty.
    """

    x: Axis
    y: Axis
    bars: tuple[HistogramBar, ...]


def histogram(values: Sequence[float], what: str, width: float, height: float, bins: int = 20) -> Histogram:
    """Count cosines in bins up to 1.

    Args:
        values: Cosines in [-1, 1], at least one.
        what: Name of the things counted, in the plural.
        width: Width of the plot, in drawing units.
        height: Height of the plot, in drawing units.
        bins: Bins from the axis's start to 1.

    Returns:
        The bars. The axis ends at 1 and begins at a tenth at or below the least value, at 0.9 at the most.
    """
    found = np.asarray(values, dtype=np.float64).clip(-1.0, 1.0)
    low = min(np.floor(found.min() * 10 + 1e-9) / 10, 0.9)
    counts, edges = np.histogram(found, bins=bins, range=(low, 1.0))
    steps = max(1, round((1.0 - low) * 10))
    ticks = tuple(Tick(round(width * step / steps, 2), f"{low + step / 10:.1f}") for step in range(steps + 1))
    x = Axis(float(low), 1.0, 0.0, width, ticks)
    y = axis(0.0, float(counts.max()), height, 0.0, 4, percent=False)
    bars = tuple(
        HistogramBar(
            x.at(start) + 0.75,
            y.at(count),
            round(x.at(end) - x.at(start) - 1.5, 2),
            round(height - y.at(count), 2),
            f"{count:,} {what} from {start:.2f} to {end:.2f}",
        )
        for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if count
    )
    return Histogram(x, y, bars)
