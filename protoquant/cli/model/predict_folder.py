"""``protoquant predict`` with ``--out``: many images into a table."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from protoquant.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from protoquant.serving.bulk.bulk import BulkResult


def names_a_folder(image: str) -> bool:
    """Return whether an argument names a folder, on disk or in S3, rather than a file."""
    from protoquant.storage.location import is_uri

    return is_uri(image) or Path(image).is_dir()


def write_answers(
    images: Sequence[str], *, model: str, weights: Path | None, out: Path, top: int, as_json: bool
) -> None:
    """Classify files, or every image of a folder, and print a summary in one line.

    Args:
        images: Files, or one folder or URI.
        model: A bundle folder or an MLflow URI.
        weights: The backbone's weight file.
        out: The file, in the format of its name.
        top: Number of contributions in a row.
        as_json: Print the summary as JSON.

    Raises:
        UsageError: An argument neither exists nor has the name of an image.
        DataError: None of the images can be read; the file lists each with its error.
    """
    _check_names(images)
    import protoquant
    from protoquant.core.log import listening
    from protoquant.core.runtime import Runtime
    from protoquant.core.workspace import Workspace
    from protoquant.model.folder import find_images
    from protoquant.serving.bulk.bulk import check_out, predict_folder
    from protoquant.settings.roots import folder_of

    check_out(out)
    runtime = Runtime.from_environment()
    root, names = Path(), tuple(images)
    with listening(Console(stderr=True)) as on_event:
        if names_a_folder(images[0]):
            root = folder_of(images[0], Workspace(Path.cwd()), runtime.workers, on_event)
            names = find_images(root, on_event).names
        loaded = protoquant.load(model, weights=weights)
        started = time.monotonic()
        done = predict_folder(
            loaded, root=root, names=names, out=out, top=top, workers=runtime.workers, on_event=on_event
        )
    summary = _summary(done, time.monotonic() - started)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        Console().print(_sentence(summary), highlight=False, markup=False, soft_wrap=True)
    if sum(done.counts.errors.values()) == done.counts.images:
        raise DataError(f"none of the {done.counts.images:,} images can be read; {out} says why of each")


def _check_names(images: Sequence[str]) -> None:
    """Refuse a mistyped folder, which would replace an older file with a single row for the error."""
    from protoquant.data.images import is_image_name

    for image in images:
        if not names_a_folder(image) and not Path(image).exists() and not is_image_name(image):
            raise UsageError(f"{image} is missing; give a folder of images, or image files")


def _summary(done: BulkResult, seconds: float) -> dict[str, Any]:
    counts = done.counts
    return {
        "images": counts.images,
        "errors": counts.errors,
        "abstentions": counts.abstentions,
        "kept": done.kept,
        "images_per_second": round((counts.images - done.kept) / max(seconds, 1e-9), 1),
        "out": str(done.out),
    }


def _sentence(summary: dict[str, Any]) -> str:
    bad = sum(summary["errors"].values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary["errors"].items())
    errors = f"{bad:,} cannot be read ({kinds})" if bad else "all can be read"
    return (
        f"{summary['images']:,} images: {errors}; no known part seen in {summary['abstentions']:,}; "
        f"{summary['images_per_second']:,.1f} images/s; written to {summary['out']}"
    )
