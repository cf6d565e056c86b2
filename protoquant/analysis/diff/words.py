"""The diff of two models in words, for the page and the terminal."""

from protoquant.analysis.diff.diff import Diff
from protoquant.analysis.diff.numbers import Number
from protoquant.pages.formatters import MINUS, MISSING, p_value, percent, signed

LEVEL = 0.05
"""McNemar p-value below which two models count as different."""
_PERCENT = ("share", "points")


def headline(diff: Diff) -> tuple[str, ...]:
    """The most important changes, in a few sentences."""
    if diff.same:
        if diff.paired is None:
            return ("No difference in what the two bundles keep: the same numbers, prototypes, weights and settings.",)
        said = f"No difference: both answer all {diff.paired.n:,} validation images alike"
        return (f"{said}, with the same prototypes, weights and settings.",)
    found = (accuracy_words(diff), calibration_words(diff), prototype_words(diff), *_class_words(diff))
    return tuple(sentence for sentence in found if sentence)


def accuracy_words(diff: Diff) -> str:
    """How accuracy changed, and whether the change is more than chance."""
    accuracy = next(number for number in diff.numbers if number.name == "accuracy")
    before, after = amount(accuracy, accuracy.before), amount(accuracy, accuracy.after)
    if diff.paired is None:
        if accuracy.change is None:
            return "Accuracy is not known of both."
        return f"Accuracy was {before} and is now {after}, each on its own validation images."
    test = diff.paired
    if test.gained == test.lost == 0:
        return f"Accuracy stays at {after}: the same {test.n:,} validation images are right and wrong."
    moved = f"stays at {after}" if test.gained == test.lost else f"went from {before} to {after}"
    counts = f"{test.gained:,} {_images(test.gained)} gained, {test.lost:,} lost, p {p_value(test.p_value, '= ')}"
    if test.p_value >= LEVEL:
        judged = "too few to tell the two apart"
    else:
        judged = "a gain" if test.gained > test.lost else "a loss"
    return f"Accuracy on the same {test.n:,} validation images {moved} ({counts}): {judged}."


def is_clear(diff: Diff, number: Number) -> bool:
    """Whether a change is more than chance: its interval excludes zero, and for accuracy the McNemar test agrees."""
    agreed = number.name != "accuracy" or (diff.paired is not None and diff.paired.p_value < LEVEL)
    return number.clear and agreed


def calibration_words(diff: Diff) -> str:
    """How the calibration error changed; empty where its interval contains zero."""
    error = next(number for number in diff.numbers if number.name == "calibration error")
    if not error.clear or error.change is None:
        return ""
    moved = "rose" if error.change > 0 else "fell"
    points = change(error, error.change).lstrip(f"+{MINUS}")
    return f"The calibration error {moved} by {points} points (95 % interval {interval(error)})."


def prototype_words(diff: Diff) -> str:
    """The numbers of kept, moved, lost and new prototypes, in one sentence."""
    if diff.measure == "none":
        return "The prototypes cannot be matched."
    counts = diff.verdicts()
    total = counts["kept"] + counts["moved"] + counts["lost"]
    parts = f"{counts['kept']:,} kept, {counts['moved']:,} moved, {counts['lost']:,} lost"
    return f"Prototypes: of {total:,} before, {parts}; {counts['new']:,} new."


def amount(number: Number, value: float | None) -> str:
    """A value of a number, with its unit."""
    if value is None:
        return MISSING
    if number.unit in _PERCENT:
        return percent(value)
    return f"{value:,.0f}" if number.unit == "count" else signed(value, ".4g")


def change(number: Number, value: float | None) -> str:
    """A change of a number, with its sign; changes of shares are in percentage points."""
    if value is None:
        return MISSING
    form = {"count": ",.0f", "number": ".3g"}.get(number.unit, ".1f")
    shown = f"{100 * value if number.unit in _PERCENT else value:+{form}}"
    if not any(digit in shown for digit in "123456789"):
        return "0"
    return shown.replace("-", MINUS)


def interval(number: Number) -> str:
    """The 95 % interval of the change; empty where there is none."""
    if number.low is None or number.high is None:
        return ""
    return f"{change(number, number.low)} to {change(number, number.high)}"


def _class_words(diff: Diff) -> list[str]:
    said = []
    for names, verb in ((diff.added, "new"), (diff.removed, "gone")):
        if names:
            some = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
            said.append(f"{len(names):,} {'class is' if len(names) == 1 else 'classes are'} {verb}: {some}.")
    return said


def _images(count: int) -> str:
    return "image" if count == 1 else "images"
