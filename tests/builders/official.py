"""Readers of published sets, with the counts of a small copy in place of the published ones."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from protoquant.core.events import Event, MessageEvent
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import PrepareResult, prepare
from protoquant.data.readers.listing import Listing

Rows = set[tuple[str, str, str]]


def publish(patch: Callable[..., None], module: ModuleType, images: Mapping[str, int], each: Mapping[str, int]) -> None:
    """Let a reader expect these counts of three classes; ``patch`` is ``monkeypatch.setattr``."""
    patch(module, "PUBLISHED", replace(module.PUBLISHED, classes=3, images=dict(images), each=dict(each)))


def listed(module: ModuleType, root: Path, *, partial: bool = False) -> tuple[Listing, list[str]]:
    """What a reader lists, and what it says."""
    told: list[Event] = []
    config = PrepareConfig(reader=module.__name__.rpartition(".")[2], partial=partial)
    listing = module.read(root, into=root / "into", config=config, workers=1, on_event=told.append)
    return listing, [event.text for event in told if isinstance(event, MessageEvent)]


def rows(listing: Listing) -> Rows:
    """Path, class and split of every image."""
    return set(listing.frame[["path", "class_name", "split"]].itertuples(index=False, name=None))


def prepared(module: ModuleType, root: Path, out: Path) -> tuple[PrepareResult, list[str]]:
    """The result of PREPARE in ``out / "images"``, and what it says."""
    told: list[Event] = []
    config = PrepareConfig(reader=module.__name__.rpartition(".")[2], root=str(root))
    result = prepare(
        config, root=root, out=out / "images", parts=out / "parts", seed=0, on_event=told.append, workers=2
    )
    return result, [event.text for event in told if isinstance(event, MessageEvent)]
