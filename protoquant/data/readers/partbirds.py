"""The embedded data set partbirds: rendered below `into` from a small spec file."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from protoquant.core.errors import ProtoQuantError
from protoquant.core.events import OnEvent, track
from protoquant.data.config import PrepareConfig
from protoquant.data.partbirds.files import Order, draw
from protoquant.data.partbirds.spec import bird_classes, load_spec
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SPLITS

_CHUNK = 8
"""Images that a worker process takes at a time."""


def read(root: Path, *, into: Path, config: PrepareConfig, workers: int, on_event: OnEvent) -> Listing:  # noqa: ARG001 (Reader)
    """Render the images of a spec as PNG files `<split>/<class name>/<index>.png`.

    Each image comes from its own seed, so the bytes do not depend on the number of worker processes.

    Args:
        root: The spec, a YAML file such as `data/partbirds.yaml`.
        into: The folder that the images are written to.
        config: The `prepare` section.
        workers: Processes that render, at least 1.
        on_event: Receives the progress of rendering.

    Returns:
        All images, with the split of each.

    Raises:
        UsageError: There is no spec file.
        ConfigError: The spec is wrong.
        ProtoQuantError: A worker process was killed from outside.
    """
    spec = load_spec(root)
    names = tuple(bird.name for bird in bird_classes(spec))
    orders: list[Order] = []
    rows: list[tuple[str, str, str]] = []
    for split in SPLITS:
        for class_index, name in enumerate(names):
            (into / split / name).mkdir(parents=True)
            for index in range(spec.images(split)):
                path = f"{split}/{name}/{index:04d}.png"
                orders.append(Order(spec, class_index, split, index, into / path))
                rows.append((path, name, split))
    processes = min(workers, -(-len(orders) // _CHUNK))
    for _ in track(_drawn(orders, processes), "render", len(orders), "images", on_event):
        pass
    return Listing(pd.DataFrame(rows, columns=["path", "class_name", "split"]), into, names)


def _drawn(orders: list[Order], workers: int) -> Iterator[None]:
    """Draw all images, in this process if there is only one worker."""
    if workers == 1:
        yield from map(draw, orders)
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(draw, orders, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise ProtoQuantError("a process that renders partbirds was ended; set PROTOQUANT_WORKERS=1") from error
