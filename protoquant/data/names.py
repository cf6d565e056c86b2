"""Class names that differ in their bytes and may be meant as one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """Map each name to the first that is the same text: Unicode stores é as one character or as two.

    Args:
        names: Names, in the order in which a spelling is preferred.
    """
    first: dict[str, str] = {}
    return {name: first.setdefault(unicodedata.normalize("NFC", name), name) for name in dict.fromkeys(names)}


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ by case, or by spaces at their ends, alone."""
    alike: Mapping[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        alike[unicodedata.normalize("NFC", name).strip().casefold()].append(name)
    return [tuple(group) for group in alike.values() if len(group) > 1]
