"""Class names that differ in their bytes and may be meant as one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SPLITS
from protoquant.data.words import named_classes


def spelt_alike(listing: Listing, on_event: OnEvent) -> Listing:
    """The listing with one spelling of each class name, that of train; names that only look alike are said."""
    frame = listing.frame
    order = frame["split"].map({name: place for place, name in enumerate(SPLITS)}).fillna(0)
    named = frame["class_name"][order.sort_values(kind="stable").index]
    spelt = one_spelling([*named, *listing.classes])
    for group in lookalikes(set(spelt.values())):
        text = f"{named_classes(group)} differ by capitals or spaces alone and stay classes of their own"
        on_event(MessageEvent(f"{text}; rename if they are one", level="warning"))
    if all(name == one for name, one in spelt.items()):
        return listing
    changed = sorted(one for name, one in spelt.items() if name != one)
    on_event(MessageEvent(f"{named_classes(changed)}: two spellings in Unicode (NFC, NFD) of one name are one class"))
    classes = tuple(dict.fromkeys(spelt[name] for name in listing.classes))
    titles = {spelt.get(name, name): title for name, title in listing.titles.items()}
    frame = frame.assign(class_name=frame["class_name"].map(spelt))
    return replace(listing, frame=frame, classes=classes, titles=titles)


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
