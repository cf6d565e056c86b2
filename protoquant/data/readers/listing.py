"""The interface of readers, and the listing that each of them returns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from protoquant.core.events import OnEvent
from protoquant.data.config import PrepareConfig
from protoquant.data.parts.listing import PartListing
from protoquant.data.quarantine import Rejected

INTERVENED = "interventions"
"""Folder of drawn interventions beside those of the splits."""


@dataclass(frozen=True)
class Listing:
    """The images a reader found, before any of them is opened.

    Attributes:
        frame: One row for each image: ``path`` (POSIX, relative to ``image_root``, unique), ``class_name``, and
            ``split``: train, validation or test in every row, or None in every row if the data has no splits.
        image_root: The folder that the paths are relative to.
        classes: All class names, index = label, including classes without an image; if empty, the names in the
            frame in natural order.
        rejected: Files that the reader itself left out.
        parts: The parts of these images, if the data annotates them.
        titles: A readable name of a class by its name, where the data has one; for display alone.
        official: Whether the test split is a published one, so that no image of it that decodes is left out.
    """

    frame: pd.DataFrame
    image_root: Path
    classes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    parts: PartListing | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    official: bool = False

    def class_names(self) -> tuple[str, ...]:
        """All class names, index = label."""
        return self.classes or natural_order(self.frame["class_name"].unique())


class Reader(Protocol):
    """A function that lists images.

    A reader that draws its images writes them below ``into``, each split in a folder of its name: the image
    ``train/robin/3.png`` goes to ``into / "train/robin/3.png"``, and ``image_root`` is ``into``. Interventions that it
    draws go below ``into / INTERVENED``.
    """

    def __call__(self, root: Path, *, into: Path, config: PrepareConfig, workers: int, on_event: OnEvent) -> Listing:
        """List the images below ``root``."""


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort names so that ``2`` comes before ``10``, and capitals next to small letters."""
    return tuple(sorted(names, key=_natural_key))


def _natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = [part for part in re.split(r"(\d+)", name.casefold()) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name
