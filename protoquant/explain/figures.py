"""Numbers of the report's charts in drawing units; the template turns them into SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in drawing units, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A linear axis from values to drawing units.

    Attributes:
        low: Value at the start.
        high: Value at the end.
        start: Drawing unit of ``low``.
        end: Drawing unit of ``high``; smaller than ``start`` where the axis points up.
        ticks: Round values between low and high.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Drawing unit of a value, to two decimals."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def axis(low: float, high: float, start: float, end: float, count: int, *, percent: bool) -> Axis:
    """Lay an axis over a range, widened to round values.

    Args:
        low: Least value to show.
        high: Largest value to show; equal values are widened by one step.
        start: Drawing unit of the lower end.
        end: Drawing unit of the upper end.
        count: Approximate number of ticks.
        percent: Whether to write 0.5 as 50 %.

    Returns:
        The axis.
    """
    step = _round_step(max(high - low, 1e-9 if high != low else 0.01 if percent else 1.0) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    whole = Axis(first * step, last * step, start, end, ())
    decimals = max(0, -math.floor(math.log10(step * (100 if percent else 1)) + 1e-9))
    ticks = tuple(
        Tick(
            whole.at(index * step),
            f"{100 * index * step:.{decimals}f} %" if percent else f"{index * step:,.{decimals}f}",
        )
        for index in range(first, last + 1)
    )
    return Axis(whole.low, whole.high, start, end, ticks)


def _round_step(step: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step * (1 - 1e-9))


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve in drawing units, with its tooltip and its radius."""

    x: float
    y: float
    text: str
    chosen: bool = False
    radius: float = 4.0


@dataclass(frozen=True)
class Polyline:
    """Joined points: an SVG ``points`` attribute, and whether this is the main line."""

    points: str
    main: bool


@dataclass(frozen=True)
class Curve:
    """Points over two axes, the lines that join them, and an optional level line.

    Attributes:
        x: Horizontal axis.
        y: Vertical axis, pointing up.
        points: All points; those of the main line last, so that they lie on top.
        lines: Lines in the order in which they are drawn.
        level: Drawing unit of a horizontal line, or None.
    """

    x: Axis
    y: Axis
    points: tuple[CurvePoint, ...]
    lines: tuple[Polyline, ...]
    level: float | None


@dataclass(frozen=True)
class PathPoint:
    """A point of the accuracy-sparsity path.

    Attributes:
        series: Points of one series are joined.
        size: Mean prototypes per class.
        accuracy: Accuracy on validation.
        text: Tooltip of the point.
        chosen: Whether the point is the model.
    """

    series: str
    size: float
    accuracy: float
    text: str
    chosen: bool


def path_curve(candidates: Sequence[PathPoint], level: float, width: float, height: float) -> Curve:
    """Lay out accuracy against prototypes per class, on a logarithmic horizontal axis.

    Args:
        candidates: The path; points with less than one prototype per class are left out unless chosen.
        level: Accuracy of the linear probe.
        width: Width of the plot, in drawing units.
        height: Height of the plot, in drawing units.

    Returns:
        One line per series, from few prototypes to many; the main one holds the chosen point.
    """
    kept = sorted(
        (one for one in candidates if one.size >= 1 or (one.chosen and one.size > 0)),
        key=lambda one: (one.size, one.accuracy),
    )
    sizes = [one.size for one in kept] or [1.0]
    accuracies = [one.accuracy for one in kept] + [level]
    x = _log_axis(min(sizes), max(sizes), width)
    y = axis(min(accuracies), min(1.0, max(accuracies) + 0.005), height, 0.0, 5, percent=True)
    main = next((one.series for one in kept if one.chosen), None)
    points: list[CurvePoint] = []
    lines: list[Polyline] = []
    for series in sorted({one.series for one in kept}, key=lambda name: (name == main, name)):
        own = [one for one in kept if one.series == series]
        placed = [CurvePoint(x.at(math.log2(one.size)), y.at(one.accuracy), one.text, one.chosen) for one in own]
        points += placed
        lines.append(join(placed, main=series == main))
    return Curve(x, y, tuple(points), tuple(lines), y.at(level))


def join(points: Sequence[CurvePoint], *, main: bool) -> Polyline:
    """Join points in their order."""
    return Polyline(" ".join(f"{point.x},{point.y}" for point in points), main)


def _log_axis(low: float, high: float, width: float) -> Axis:
    """An axis over log2 of the values, with powers of two as ticks."""
    first, last = math.floor(math.log2(low) + 1e-9), math.ceil(math.log2(high) - 1e-9)
    whole = Axis(first, max(last, first + 1), 0.0, width, ())
    ticks = tuple(Tick(whole.at(power), f"{2.0**power:g}") for power in range(first, int(whole.high) + 1))
    return Axis(whole.low, whole.high, 0.0, width, ticks)


@dataclass(frozen=True)
class Square:
    """A non-zero cell of the confusion matrix: true class, predicted class, images, share of the true class."""

    row: int
    col: int
    count: int
    share: float

    @property
    def right(self) -> bool:
        """Whether it lies on the diagonal."""
        return self.row == self.col


def squares(matrix: Int[np.ndarray, "c c"]) -> tuple[Square, ...]:
    """The non-zero cells of a confusion matrix, row by row.

    Args:
        matrix: Counts, true classes in rows.

    Returns:
        The cells with their share of the true class's images.
    """
    support = matrix.sum(axis=1)
    rows, cols = np.nonzero(matrix)
    return tuple(
        Square(int(row), int(col), int(matrix[row, col]), float(matrix[row, col] / support[row]))
        for row, col in zip(rows, cols, strict=True)
    )


def most_confused(matrix: Int[np.ndarray, "c c"], count: int) -> tuple[Square, ...]:
    """The mistakes made most often, largest count first, ties in class order."""
    wrong = [square for square in squares(matrix) if not square.right]
    return tuple(sorted(wrong, key=lambda square: (-square.count, square.row, square.col))[:count])
