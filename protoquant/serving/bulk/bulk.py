"""Predict a folder of images into one table, with bounded memory and in a way that can be resumed.

Rows are written in parts beside the file. A run that was killed continues from its complete parts, if the images, the
model and the number of contributions are the same; at the end the parts are joined. Images that cannot be read become
rows with an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from protoquant.core.errors import ProtoQuantError, UsageError, one_line
from protoquant.core.events import MessageEvent, OnEvent, ProgressEvent
from protoquant.core.machine.disk import check_room
from protoquant.model.classifier import BATCH, Model
from protoquant.model.folder import Bad, Opened, opened_ahead, stacked
from protoquant.serving.bulk.answer_table import AnswerCounts, answer_row, error_row, join, whole, write_rows
from protoquant.serving.bulk.parts import alone, digest_images, open_plan
from protoquant.serving.bulk.table_formats import SUFFIXES

PART = 1024
"""Images in a part, a multiple of ``BATCH``: the most that a killed run loses, and the rows held at once."""
_ROW_BYTES = 2048
"""Upper bound of the disk bytes for an image, as a row of a part and a row of the file."""


@dataclass(frozen=True)
class BulkResult:
    """The result of a run.

    Attributes:
        out: The file.
        counts: Totals over its rows.
        kept: Number of images whose rows come from an earlier run.
    """

    out: Path
    counts: AnswerCounts
    kept: int


def check_out(out: Path) -> None:
    """Check before any work that a file can be written.

    Raises:
        UsageError: The path ends in the name of no format, is a folder, or its folder is missing or cannot be written
            to.
    """
    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise UsageError(f"--out must be a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {out}")
    folder = out.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--out: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise UsageError(f"--out: {out} cannot be written; check the permissions, or choose another place")


def predict_folder(
    model: Model,
    *,
    root: Path,
    names: Sequence[str],
    out: Path,
    top: int,
    workers: int,
    on_event: OnEvent,
) -> BulkResult:
    """Answer for every image and write the answers as one table.

    The same images, model and ``top`` give the same bytes, whether the work was interrupted or not.

    Args:
        model: The model; it is only read.
        root: The folder of the images.
        names: Paths of the images relative to ``root``, in the order of the rows.
        out: The file, in the format of its name; an older one is replaced at the end. Parts lie in ``OUT.parts`` until
            then.
        top: Maximum number of contributions in a row.
        workers: Threads that decode.
        on_event: Receives progress, and a message if an earlier run is continued or discarded.

    Raises:
        UsageError: ``out`` cannot be written, or another run is writing it.
        ProtoQuantError: The disk has no room.
    """
    check_out(out)
    check_room(out.absolute().parent, len(names) * _ROW_BYTES, "the answers", "free space, or choose another --out")
    plan = {"images": digest_images(root, names), "bundle": model.bundle.digest, "top": top, "part": PART}
    folder = out.with_name(out.name + ".parts")
    with _room_kept(out), alone(folder, out):
        open_plan(folder, plan, on_event)
        parts = [(folder / f"{start // PART:06d}.parquet", names[start : start + PART]) for start in _starts(names)]
        missing = [(file, part) for file, part in parts if not whole(file, len(part))]
        left = sum(len(part) for _, part in missing)
        if left < len(names):
            on_event(MessageEvent(f"continues an earlier run: {len(names) - left:,} of {len(names):,} images are done"))
        _fill(model, root, missing, top=top, workers=workers, on_event=on_event)
        about = {"protoquant.bundle": model.bundle.digest, "protoquant.top": str(top)}
        counts = join((file for file, _ in parts), out, about)
        shutil.rmtree(folder)
    return BulkResult(out, counts, len(names) - left)


def _starts(names: Sequence[str]) -> range:
    return range(0, len(names), PART)


def _fill(
    model: Model,
    root: Path,
    missing: Sequence[tuple[Path, Sequence[str]]],
    *,
    top: int,
    workers: int,
    on_event: OnEvent,
) -> None:
    """Write the missing parts; decoding runs ahead across parts, but a batch never spans two."""
    total, done = sum(len(part) for _, part in missing), 0
    on_event(ProgressEvent("predict", 0, total))
    wanted = (name for _, part in missing for name in part)
    with opened_ahead(root, wanted, model.backbone, workers=workers, depth=2 * BATCH) as images:
        for file, part in missing:
            rows: list[dict[str, Any]] = []
            for start in range(0, len(part), BATCH):
                batch = list(islice(images, min(BATCH, len(part) - start)))
                rows += _rows(model, batch, top)
                done += len(batch)
                if len(rows) < len(part):
                    on_event(ProgressEvent("predict", done, total))
            write_rows(rows, file)
            on_event(ProgressEvent("predict", done, total))


def _rows(model: Model, batch: Sequence[Opened | Bad], top: int) -> list[dict[str, Any]]:
    good = [image for image in batch if isinstance(image, Opened)]
    found = iter(model.answer_pixels(stacked(good), [image.size for image in good], top) if good else ())
    return [error_row(image) if isinstance(image, Bad) else answer_row(image.name, next(found)) for image in batch]


@contextmanager
def _room_kept(out: Path) -> Iterator[None]:
    """Turn an error of writing into one line that also says that finished parts are kept."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or one_line(error)
        raise ProtoQuantError(
            f"{out} could not be written ({said}); finished parts are kept: mend it and run the same call again"
        ) from error
