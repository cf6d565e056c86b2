"""Writes the artifact of parts, with the annotations of those images that are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from protoquant.core.artifacts import artifact_digest, digest_bytes, digest_json, write_json, write_table, writing
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.core.machine.prefetch import ahead
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.parts.labels import unpack_labels
from protoquant.data.parts.listing import INTERVENTIONS, POINTS, Interventions, PartListing
from protoquant.data.parts.table import KIND, SCHEMA, SEEN, TABLES
from protoquant.data.splits import SPLITS

Sizes = Mapping[str, tuple[int, int]]
"""Width and height of each image in pixels."""


def write_parts(
    folder: Path, given: PartListing, images: pd.DataFrame, *, beside: Path, workers: int, on_event: OnEvent
) -> None:
    """Write the annotations of each split; those of images that were left out are dropped.

    Args:
        folder: The artifact, as ``writing`` opened it.
        given: What the reader brought.
        images: The table of images: ``image_id``, ``split``, ``width`` and ``height``.
        beside: The artifact of the images; its digests become inputs.
        workers: Threads that read masks and interventions; the result does not depend on them.
        on_event: Receives progress, a warning for points outside of their image, and one for empty masks.

    Raises:
        DataError: A mask or an intervention is not of its image's size, or cannot be read.
    """
    sizes = dict(zip(images["image_id"], zip(images["width"], images["height"], strict=True), strict=True))
    ids = sorted(sizes.keys() & set(given.annotated))
    tables = {
        "annotated": pd.DataFrame({"image_id": ids, "labels": _labels(given, ids, sizes, workers, on_event)}),
        "points": _points(given, sizes, on_event),
        "interventions": _interventions(given.interventions, sizes, workers, on_event),
    }
    split_of = dict(zip(images["image_id"], images["split"], strict=True))
    drawn = given.interventions if given.interventions and given.interventions.drawn else None
    write_json(folder / SCHEMA, given.schema.plain())
    schema = digest_json(given.schema.plain())
    for name in SPLITS:
        inputs = {"images": artifact_digest(beside / name)}
        with writing(folder / name, KIND, inputs, drawn=drawn is not None, schema=schema) as part:
            for table, frame in tables.items():
                own = frame[frame["image_id"].map(split_of) == name]
                write_table(part / f"{table}.parquet", own.astype(TABLES[table]))
            if drawn:
                _move(drawn.folder, tables["interventions"]["path"], name, part)
    write_json(folder / SEEN.format("false"), {})
    write_json(folder / SEEN.format("true"), {"train": artifact_digest(folder / "train")})


def _labels(given: PartListing, ids: list[str], sizes: Sizes, workers: int, on_event: OnEvent) -> list[bytes | None]:
    """The mask of each image as a PNG file; nothing if there are no masks."""
    if given.labels is None:
        return [None] * len(ids)
    packed: list[bytes | None] = []
    empty: list[str] = []
    with ThreadPoolExecutor(workers) as pool:
        read = ahead(given.labels, ids, pool, 4 * workers)
        for image_id, data in zip(ids, track(read, "masks", len(ids), "images", on_event), strict=True):
            labels = unpack_labels(data)
            _check_size(f"the mask of {image_id}", labels.shape[::-1], image_id, sizes)
            if not labels.any():
                empty.append(image_id)
            packed.append(data)
    if empty:
        text = f"empty masks: {len(empty):,} (the object is out of view or hidden), such as that of {empty[0]}"
        on_event(MessageEvent(text, "warning"))
    return packed


def _points(given: PartListing, sizes: Sizes, on_event: OnEvent) -> pd.DataFrame:
    """The points of the images that are used, as far as they lie in them."""
    if given.points is None:
        return pd.DataFrame(columns=list(POINTS)).astype(POINTS)
    used = given.points[given.points["image_id"].isin(list(sizes))].astype(POINTS)
    used = used.sort_values(["image_id", "part"], ignore_index=True)
    sides = ({name: float(size[axis]) for name, size in sizes.items()} for axis in (0, 1))
    width, height = (used["image_id"].map(side).astype("float64") for side in sides)
    inside = used["x"].between(0, width) & used["y"].between(0, height)
    if not inside.all():
        first = used[~inside].iloc[0]
        on_event(
            MessageEvent(
                f"{(~inside).sum():,} of {len(used):,} points lie outside of their image and are left out, such as "
                f"{given.schema.parts[first['part']]!r} of {first['image_id']} at ({first['x']:g}, {first['y']:g})",
                "warning",
            )
        )
    return used[inside]


def _interventions(given: Interventions | None, sizes: Sizes, workers: int, on_event: OnEvent) -> pd.DataFrame:
    """Open every intervention of an image that is used, and note its digest."""
    if given is None:
        return pd.DataFrame(columns=list(TABLES["interventions"]))
    used = given.frame[given.frame["image_id"].isin(list(sizes))].astype(INTERVENTIONS)
    used = used.sort_values(["image_id", "kind", "removed"], ignore_index=True)

    def digest(row: tuple[str, str]) -> str:
        image_id, path = row
        data = read_bytes(given.folder / path, path)
        _check_size(f"the intervention {path}", decode_image(data, name=path).size, image_id, sizes)
        return digest_bytes(data)

    rows = zip(used["image_id"], used["path"], strict=True)
    with ThreadPoolExecutor(workers) as pool:
        found = ahead(digest, rows, pool, 4 * workers)
        return used.assign(digest=list(track(found, "interventions", len(used), "images", on_event)))


def _check_size(what: str, size: tuple[int, ...], image_id: str, sizes: Sizes) -> None:
    if tuple(size) != tuple(sizes[image_id]):
        width, height = sizes[image_id]
        found = f"has {size[0]} x {size[1]} pixels, the image {image_id} {width} x {height}"
        raise DataError(f"{what} {found}; they must be of one size: replace the one that is wrong")


def _move(drawn: Path, paths: Iterable[str], split: str, part: Path) -> None:
    """Move drawn interventions of a split into its folder."""
    for path in paths:
        if path.startswith(f"{split}/"):
            file = part / path.removeprefix(f"{split}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            (drawn / path).rename(file)
