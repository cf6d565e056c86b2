"""Formats values in the same way for every page."""

import re

from markupsafe import Markup

MISSING = "\N{EN DASH}"
"""Placeholder for a missing value."""
MINUS = "\N{MINUS SIGN}"
_LEAST_P = 0.0001


def percent(value: float | None, decimals: int = 1) -> str:
    """Write a share as a percentage; an undefined one as a dash."""
    return MISSING if value is None else f"{signed(100 * value, f'.{decimals}f')} %"


def number(value: float | None, decimals: int = 2) -> str:
    """Write a number with grouped thousands; an undefined one as a dash."""
    return MISSING if value is None else f"{value:,.{decimals}f}"


def signed(value: float, form: str) -> str:
    """Write a number in a Python format, such as ``+.3f``, with a true minus sign."""
    return f"{value:{form}}".replace("-", MINUS, 1) if value < 0 else f"{value:{form}}"


def interval(low: float, high: float) -> str:
    """Write an interval of shares, such as ``88.5 to 94.0 %``."""
    return f"{100 * low:.1f} to {percent(high)}"


def p_value(value: float, equals: str = "") -> str:
    """Write a p-value.

    Args:
        value: In [0, 1].
        equals: Text before the value, such as ``= ``, unless the value is written as ``< 0.0001``.
    """
    return f"{equals}{value:.2g}" if value >= _LEAST_P else f"< {_LEAST_P}"


def setting(value: object) -> str:
    """Write a value of params.yaml as it is written there."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(setting(each) for each in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def breakable(text: str) -> Markup:
    """Let a long name break after underscores, slashes and dashes."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/-])(?=.)", text))
