"""A folder of images through a model into one parquet file: bounded memory, bad images as rows, resumable.

Rows are written in parts beside the file that is wanted. A run that was killed continues with the parts that are
whole, if the images, the model and the number of contributions are the same; at the end the parts become the file.
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

PART = 1024
"""Images in a part, a multiple of ``BATCH``: what a killed run loses at most, and what is held of rows at once."""
_ROW_BYTES = 2048
"""Disk that an image takes at most, as a row of a part and a row of the file."""


@dataclass(frozen=True)
class BulkResult:
    """What a run did.

    Attributes:
        out: The file.
        counts: What its rows say in all.
        kept: Images whose rows an earlier run had left.
    """

    out: Path
    counts: AnswerCounts
    kept: int


def check_out(out: Path) -> None:
    """Refuse a file that cannot be written, before any work.

    Raises:
        UsageError: It does not end in .parquet, is a folder, or its folder is missing or cannot be written to.
    """
    if out.suffix.lower() != ".parquet" or out.is_dir():
        raise UsageError(f"--out must be a file that ends in .parquet, got {out}")
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
        model: Only read.
        root: The folder of the images.
        names: Their paths, relative to it; rows come in this order.
        out: The parquet file; an older one is replaced at the end. Parts lie in ``OUT.parts`` until then.
        top: Contributions in a row, at most.
        workers: Threads that decode.
        on_event: Hears of progress, and of what is continued or begun anew.

    Raises:
        UsageError: ``out`` cannot be written, or another run writes it. ProtoQuantError: The disk has no room.
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
    """Write the parts that are missing; decoding runs on across them, batches do not."""
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
    """Name what could not be written, in one line, and that the parts stay."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = getattr(error, "strerror", None) or one_line(error)
        raise ProtoQuantError(
            f"{out} could not be written ({said}); finished parts are kept: mend it and run the same call again"
        ) from error
