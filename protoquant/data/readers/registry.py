"""The one list of readers, which settings, help texts and checks use.

A reader is a module of this folder, named like its entry, with a function ``read``; it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

from protoquant.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from protoquant.data.readers.listing import Reader


@dataclass(frozen=True)
class ReaderEntry:
    """Facts about a reader that are known before it is imported.

    Attributes:
        layout: Layout of the images, for help texts.
        root: Required kind of ``prepare.root``; None if the reader itself checks it.
        options: Keys of ``prepare`` that have an effect with this reader and not with every other.
    """

    layout: str
    root: Literal["a folder", "the file of a spec"] | None = None
    options: tuple[str, ...] = ()


READERS: Mapping[str, ReaderEntry] = {
    "partbirds": ReaderEntry("drawn from a spec", root="the file of a spec", options=("interventions",)),
    "image_folder": ReaderEntry(
        "class-named folders, also below train/ validation/ test/", root="a folder", options=("splits",)
    ),
    "table": ReaderEntry("CSV or parquet with path, label and perhaps split", options=("table",)),
    "webdataset": ReaderEntry("tar archives of images, each with a .cls or .json of its name", root="a folder"),
    "cub": ReaderEntry("CUB-200-2011 as it is published", root="a folder", options=("crop",)),
    "funnybirds": ReaderEntry("FunnyBirds as it is published", root="a folder", options=("interventions", "ambiguous")),
    "cars": ReaderEntry("Stanford Cars-196 as it is published", root="a folder", options=("partial",)),
    "dogs": ReaderEntry("Stanford Dogs-120 as it is published", root="a folder", options=("partial",)),
    "flowers": ReaderEntry("Oxford Flowers-102 as it is published", root="a folder", options=("partial",)),
    "imagenet": ReaderEntry("ImageNet-1k in folders or in its tar archives", root="a folder", options=("partial",)),
}

if TYPE_CHECKING:
    ReaderName = str
else:
    ReaderName = Literal[tuple(READERS)]
"""The type of a setting or option that names a reader."""


def layouts() -> str:
    """Every reader with the layout that it reads, in one line."""
    return ", ".join(f"{name} ({entry.layout})" for name, entry in READERS.items())


def reader(name: str) -> Reader:
    """Import a reader.

    Raises:
        ConfigError: There is no reader of that name.
    """
    if name not in READERS:
        raise ConfigError(f"unknown reader {name!r}{suggest(name, READERS)}; readers: {', '.join(READERS)}")
    return cast("Reader", import_module(f"{__package__}.{name}").read)
