"""A user's table of part points: a row with path, part, x and y for each visible part of an image."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from protoquant.core.errors import DataError, suggest
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.parts.listing import PartListing
from protoquant.data.parts.schema import PartSchema, mirrored_by_name
from protoquant.data.table_file import load_columns, relative_paths, require_table, row_number

_COLUMNS = ("path", "part", "x", "y")


def read_points(source: Path, images: Sequence[str], on_event: OnEvent, separator: str = ",") -> PartListing:
    """Read the points of the images of a table.

    The parts come in the order of their names. A part such as ``left eye`` is mirrored if there is a ``right eye``.

    Args:
        source: The file; its paths are relative to its folder, x and y are pixels of the upright image.
        images: The images of the table.
        on_event: Receives a message if some images have no point at all; they are not annotated.
        separator: What stands between two cells of a CSV file.

    Raises:
        DataError: The file or a column is missing, a cell is empty, there is no row, x or y is no number, a point has
            an image that is not in the table, or a part of an image stands there twice.
    """
    require_table(source, "prepare.table.parts")
    columns = load_columns(source, dict.fromkeys(_COLUMNS), separator)
    where = [f"{source}, row {row_number(index, source)}" for index in range(len(columns["path"]))]
    paths = relative_paths(columns["path"], source)
    _check_paths(paths, where, images)
    names = columns["part"]
    first: dict[tuple[str, str], str] = {}
    for path, name, at in zip(paths, names, where, strict=True):
        if (path, name) in first:
            raise DataError(f"{at}: {name!r} of {path} stands in {first[path, name].split(', ')[-1]} already; keep one")
        first[path, name] = at
    parts = tuple(sorted(set(names)))
    if not parts:
        raise DataError(f"{source} has no point; add a row for each visible part, or take prepare.table.parts away")
    points = pd.DataFrame(
        {
            "image_id": paths,
            "part": [parts.index(name) for name in names],
            "x": [_number(cell, "x", at) for cell, at in zip(columns["x"], where, strict=True)],
            "y": [_number(cell, "y", at) for cell, at in zip(columns["y"], where, strict=True)],
        }
    )
    annotated = sorted(set(paths))
    if len(annotated) < len(images):
        text = f"{source.name} has points of {len(annotated):,} of {len(images):,} images; the others have no parts"
        on_event(MessageEvent(text, "warning"))
    return PartListing(PartSchema("points", parts, mirrored=mirrored_by_name(parts)), annotated, points)


def _check_paths(paths: Sequence[str], where: Sequence[str], images: Sequence[str]) -> None:
    """Refuse points of images that the table does not name."""
    known = set(images)
    strange = {path: at for path, at in reversed(list(zip(paths, where, strict=True))) if path not in known}
    if strange:
        path = next(path for path in paths if path in strange)
        more = f" (and {len(strange) - 1:,} more images)" if len(strange) > 1 else ""
        raise DataError(f"{strange[path]}: {path!r} is not in the table of images{more}{suggest(path, known)}")


def _number(cell: str, column: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {column} must be a number of pixels, got {cell!r}; correct it")
    return value
