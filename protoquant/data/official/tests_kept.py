"""What is said of a published test split, of which every image that decodes stays."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from protoquant.core.events import MessageEvent
from protoquant.data.checks import Checked
from protoquant.data.quarantine import Reason, Rejected, count_reasons, in_words


def said_of_tests(
    listed: Collection[str], kept: Iterable[Checked], rejected: Sequence[Rejected]
) -> Iterator[MessageEvent]:
    """Say which test images have twins, and how many had to be left out.

    Args:
        listed: The ids of the test images that the reader found.
        kept: The images that stay, of any split.
        rejected: The images that leave.
    """
    if twins := _twins(kept):
        yield MessageEvent(twins)
    lost = [one for one in rejected if one.image_id in listed and one.reason is not Reason.EXCLUDED]
    if lost:
        found = f"{len(lost):,} of {len(listed):,} published test images cannot be used"
        why = f"{in_words(count_reasons(lost))}, such as {lost[0].image_id}"
        yield MessageEvent(f"{found} ({why}); replace these files, or numbers of test are not comparable", "warning")


def _twins(kept: Iterable[Checked]) -> str:
    """How many test images stay although another one has their pixels; empty if none does."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    for image in kept:
        if image.entry.split == "test":
            alike[image.pixels].append(image.entry.class_name)
    twins = [names for names in alike.values() if len(names) > 1]
    at_odds = sum(len(names) for names in twins if len(set(names)) > 1)
    labels = f"{at_odds:,} of them under several labels" if at_odds else "under one label"
    said = f"{sum(map(len, twins)):,} test images have the pixels of another test image, {labels}; all stay"
    return said if twins else ""
