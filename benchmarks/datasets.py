"""Data sets of the benchmarks: partbirds of 50 classes in three seeds, and a folder of photos where one is given."""

from dataclasses import dataclass
from pathlib import Path

import torch

from protoquant.core.events import MessageEvent, ProgressEvent
from protoquant.core.runtime import Runtime
from protoquant.core.workspace import Workspace
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract

SPEC = "classes: 50\ntrain: 30\nvalidation: 10\ntest: 100\nsize: 256\nseed: {seed}\n"


@dataclass(frozen=True)
class DataSet:
    """Images and features on disk, and the seed of what is learned on them.

    Attributes:
        name: Data sets of one name are the seeds of one panel.
        seed: Of the learning; of the images too, for partbirds.
        workspace: Where the artifacts are.
        root: ``prepare.root``.
    """

    name: str
    seed: int
    workspace: Workspace
    root: Path


def partbirds(seed: int, work: Path) -> DataSet:
    """Draw partbirds of 50 classes, 30 / 10 / 100 images each for train / validation / test, unless they are there."""
    folder = work / f"partbirds50-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "partbirds.yaml"
    spec.write_text(SPEC.format(seed=seed), encoding="utf-8")
    made = DataSet("partbirds-50", seed, Workspace(folder), spec)
    _make(made, PrepareConfig(reader="partbirds", root=spec.name))
    return made


def photos(root: Path, seed: int, work: Path) -> DataSet:
    """Read class-named folders; all seeds share the split, so that they share the features."""
    made = DataSet(root.name, seed, Workspace(work / root.name), root)
    made.workspace.root.mkdir(parents=True, exist_ok=True)
    _make(made, PrepareConfig(reader="image_folder", root=str(root)), seed=0)
    return made


def _make(made: DataSet, config: PrepareConfig, seed: int | None = None) -> None:
    space, runtime = made.workspace, Runtime.from_environment()
    if not space.images.is_dir():
        prepare(
            config,
            root=made.root,
            out=space.images,
            seed=made.seed if seed is None else seed,
            workers=runtime.workers,
            on_event=tell,
        )
    if not space.features.is_dir():
        extract(
            ExtractConfig(),
            images=space.images,
            root=made.root,
            out=space.features,
            cache=space.feature_cache,
            seed=made.seed,
            device=runtime.torch_device(torch.get_num_threads()),
            workers=runtime.workers,
            on_event=tell,
        )


def tell(event: object) -> None:
    """Print sentences, and of progress every tenth."""
    if isinstance(event, MessageEvent):
        print(f"  {event.text}", flush=True)
    elif isinstance(event, ProgressEvent) and event.total and event.done % max(1, event.total // 10) == 0:
        print(f"  {event.label}: {event.done}/{event.total} {event.unit}", flush=True)
