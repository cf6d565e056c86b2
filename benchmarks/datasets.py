"""Provides the data sets of the benchmarks: partbirds of 50 classes in three seeds; photos and FunnyBirds if given."""

import argparse
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from protoquant.core.events import MessageEvent, ProgressEvent
from protoquant.core.runtime import Runtime
from protoquant.core.workspace import Workspace
from protoquant.data.config import PrepareConfig, TableConfig
from protoquant.data.prepare import prepare
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract

EXTRACT = ExtractConfig(layers=("blocks.4", "last"))
"""Section extract of params.yaml. A recipe of the last layer alone reads that out of the same features."""
SPEC = "classes: 50\ntrain: 30\nvalidation: 10\ntest: 100\nsize: 256\nseed: {seed}\n"
DEMO = "classes: 20\ntrain: 30\nvalidation: 10\ntest: 20\nsize: 256\nseed: {seed}\n"
QUICK = "classes: 4\ntrain: 8\nvalidation: 3\ntest: 5\nsize: 128\nseed: {seed}\n"


@dataclass(frozen=True)
class DataSet:
    """Images and features on disk, and the seed for training on them.

    Attributes:
        name: Data sets of the same name are the seeds of one panel.
        key: Names the images; seeds that share their images share it.
        seed: Seed of the training; for partbirds, of the images too.
        workspace: The workspace with the artifacts.
        root: ``prepare.root``.
    """

    name: str
    key: str
    seed: int
    workspace: Workspace
    root: Path


@dataclass(frozen=True)
class Places:
    """The folders where data sets are, or are made.

    Attributes:
        work: Folder for generated data.
        photos: Class-named folders; None if there are no photos.
        points: Table of the part points of the photos, columns path, part, x and y; None if there is none.
        funnybirds: FunnyBirds in its official layout; None if it is not there.
        reuse: Folders with ``artifacts/images`` and ``artifacts/features`` that are already there, by key.
        extract: How features are extracted; those of another section lie in another folder.
    """

    work: Path
    photos: Path | None
    points: Path | None
    funnybirds: Path | None
    reuse: Mapping[str, Path]
    extract: ExtractConfig = EXTRACT

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Places":
        """Read the options that :func:`add_arguments` added."""
        paths = (given.photos, given.photo_parts, given.funnybirds)
        photos, points, birds = (None if path is None else path.resolve() for path in paths)
        return cls(given.work, photos, points, birds, {name: path.resolve() for name, path in given.reuse})

    def made(self, key: str) -> str:
        """Name of the folder and the features of some images, for this section of extract."""
        digest = hashlib.sha256(self.extract.model_dump_json().encode()).hexdigest()
        return f"{key}-{digest[:8]}"

    @property
    def has_photos(self) -> bool:
        """Whether there is a folder of photos, or features of one."""
        return self.photos is not None or "photos" in self.reuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every benchmark that runs on these data sets."""
    parser.add_argument("--photos", type=Path, help="class-named folders of photos")
    parser.add_argument("--photo-parts", type=Path, help="table of part points of the photos: path, part, x, y")
    parser.add_argument("--funnybirds", type=Path, help="FunnyBirds in its official layout")
    parser.add_argument(
        "--reuse",
        type=_pair,
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="partbirds50-SEED or photos: a folder with artifacts/images and artifacts/features of an earlier run",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="features, codebooks and results")


def partbirds(seed: int, places: Places) -> DataSet:
    """Draw partbirds of 50 classes, 30 / 10 / 100 images each for train / validation / test, unless they are there."""
    return _drawn("partbirds-50", f"partbirds50-{seed}", SPEC, seed, places)


def demo(seed: int, places: Places) -> DataSet:
    """Draw partbirds as in data/partbirds.yaml, in any seed, unless they are there."""
    return _drawn("partbirds", f"partbirds-{seed}", DEMO, seed, places)


def quick(seed: int, places: Places) -> DataSet:
    """Draw a few partbirds to check that a benchmark runs; its numbers mean nothing."""
    return _drawn("quick", f"quick-{seed}", QUICK, seed, places)


def photos(seed: int, places: Places) -> DataSet:
    """Read class-named folders; all seeds share the split, so that they share the features.

    Raises:
        ValueError: There are no photos.
    """
    known = places.reuse.get("photos")
    root = places.photos or known
    if root is None:
        raise ValueError("no photos: give --photos FOLDER or --reuse photos=FOLDER")
    if places.points is None:
        return _read(root, known, PrepareConfig(reader="image_folder", root=str(root)), seed, places)
    with_points = _with_points(root, places.points, places.work / f"{root.name}-points")
    config = PrepareConfig(reader="table", root=str(with_points), table=TableConfig(parts="parts.csv"))
    return _read(with_points, known, config, seed, places)


def _with_points(photos: Path, points: Path, out: Path) -> Path:
    """Lay links to class-named folders below train/ and test/ beside a table of their images and one of their parts."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(points, out / "parts.csv")
    rows = []
    for split in ("train", "test"):
        if not (out / split).exists():
            (out / split).symlink_to(photos / split)
        rows += [(path.relative_to(photos).as_posix(), path.parent.name, split) for path in photos.glob(f"{split}/*/*")]
    pd.DataFrame(sorted(rows), columns=["path", "label", "split"]).to_csv(out / "images.csv", index=False)
    return out


def funnybirds(seed: int, places: Places) -> DataSet:
    """Read FunnyBirds; as for photos, all seeds share the split.

    Raises:
        ValueError: The data set is not given.
    """
    root = places.funnybirds
    if root is None:
        raise ValueError("no FunnyBirds: give --funnybirds FOLDER")
    return _read(root, None, PrepareConfig(reader="funnybirds", root=str(root), interventions=True), seed, places)


def all_of(seeds: Sequence[int], places: Places) -> list[DataSet]:
    """Return partbirds of every seed, then photos and FunnyBirds of every seed where they are given."""
    made = [partbirds(seed, places) for seed in seeds]
    made += [photos(seed, places) for seed in seeds] if places.has_photos else []
    return made + ([funnybirds(seed, places) for seed in seeds] if places.funnybirds else [])


def one_of(seed: int, places: Places) -> DataSet:
    """Return the photos if there are any, else partbirds."""
    return photos(seed, places) if places.has_photos else partbirds(seed, places)


def _read(root: Path, known: Path | None, config: PrepareConfig, seed: int, places: Places) -> DataSet:
    key = root.name if known else places.made(root.name)
    made = DataSet(root.name, key, seed, Workspace(known or places.work / key), root)
    if known is None:
        made.workspace.root.mkdir(parents=True, exist_ok=True)
        _make(made, config, places.extract, seed=0)
    return made


def _drawn(name: str, key: str, text: str, seed: int, places: Places) -> DataSet:
    if key in places.reuse:
        return DataSet(name, key, seed, Workspace(places.reuse[key]), places.reuse[key])
    key = places.made(key)
    folder = places.work / key
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "partbirds.yaml"
    spec.write_text(text.format(seed=seed), encoding="utf-8")
    made = DataSet(name, key, seed, Workspace(folder), spec)
    _make(made, PrepareConfig(reader="partbirds", root=spec.name), places.extract, seed=seed)
    return made


def _make(made: DataSet, config: PrepareConfig, how: ExtractConfig, seed: int) -> None:
    space, runtime = made.workspace, Runtime.from_environment()
    if not space.images.is_dir():
        prepare(
            config,
            root=made.root,
            out=space.images,
            parts=space.parts,
            seed=seed,
            workers=runtime.workers,
            on_event=tell,
        )
    if not space.features.is_dir():
        extract(
            how,
            images=space.images,
            root=made.root,
            out=space.features,
            cache=space.feature_cache,
            seed=made.seed,
            device=runtime.torch_device(torch.get_num_threads()),
            workers=runtime.workers,
            on_event=tell,
        )


def _pair(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or not (Path(folder) / "artifacts" / "features").is_dir():
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER with FOLDER/artifacts/features, got {text!r}")
    return name, Path(folder)


def tell(event: object) -> None:
    """Print messages, and every tenth part of progress."""
    if isinstance(event, MessageEvent):
        print(f"  {event.text}", flush=True)
    elif isinstance(event, ProgressEvent) and event.total and event.done % max(1, event.total // 10) == 0:
        print(f"  {event.label}: {event.done}/{event.total} {event.unit}", flush=True)
