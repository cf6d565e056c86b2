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
from protoquant.data.partbirds.removals import removals, schema_of
from protoquant.data.partbirds.spec import bird_classes, load_spec
from protoquant.data.parts.listing import INTERVENTIONS, Interventions, PartListing
from protoquant.data.readers.listing import INTERVENED, Listing
from protoquant.data.splits import SPLITS

_CHUNK = 8
"""Images that a worker process takes at a time."""


def read(root: Path, *, into: Path, config: PrepareConfig, workers: int, on_event: OnEvent) -> Listing:
    """Render the images of a spec as PNG files `<split>/<class name>/<index>.png`, with the masks of their parts.

    Each image comes from its own seed, so the bytes do not depend on the number of worker processes.

    Args:
        root: The spec, a YAML file such as `data/partbirds.yaml`.
        into: The folder that the images are written to.
        config: The `prepare` section; `interventions` asks for test images without some parts or an object.
        workers: Processes that render, at least 1.
        on_event: Receives the progress of rendering.

    Returns:
        All images, with the split and the parts of each.

    Raises:
        UsageError: There is no spec file.
        ConfigError: The spec is wrong.
        ProtoQuantError: A worker process was killed from outside.
    """
    spec = load_spec(root)
    birds = bird_classes(spec)
    whole: dict[str, Order] = {}
    for split in SPLITS:
        for bird in birds:
            for index in range(spec.images(split)):
                path = f"{split}/{bird.name}/{index:04d}.png"
                whole[path] = Order(spec, bird.index, split, index, into / path)
    tested = {path: order for path, order in whole.items() if order.split == "test" and config.interventions}
    changed = [made for path, order in tested.items() for made in removals(order, path, into / INTERVENED)]
    orders = [*whole.values(), *(order for _, order in changed)]
    for folder in {order.file.parent for order in orders}:
        folder.mkdir(parents=True, exist_ok=True)
    processes = min(workers, -(-len(orders) // _CHUNK))
    drawn = track(_drawn(orders, processes), "render", len(orders), "images", on_event)
    masks = dict(zip(whole, drawn, strict=False))
    for _ in drawn:  # the interventions, whose masks nobody needs
        pass
    names = [birds[order.class_index].name for order in whole.values()]
    splits = [order.split for order in whole.values()]
    frame = pd.DataFrame({"path": list(whole), "class_name": names, "split": splits})
    rows = pd.DataFrame([row for row, _ in changed], columns=list(INTERVENTIONS))
    held = Interventions(rows, into / INTERVENED, drawn=True) if changed else None
    parts = PartListing(schema_of(birds), list(whole), labels=masks.__getitem__, interventions=held)
    return Listing(frame, into, tuple(bird.name for bird in birds), parts=parts)


def _drawn(orders: list[Order], workers: int) -> Iterator[bytes]:
    """Draw all images, in this process if there is only one worker."""
    if workers == 1:
        yield from map(draw, orders)
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(draw, orders, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise ProtoQuantError("a process that renders partbirds was ended; set PROTOQUANT_WORKERS=1") from error
