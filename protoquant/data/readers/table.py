"""A table of image paths and class names, with or without splits, beside the images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from protoquant.core.errors import DataError, suggest
from protoquant.core.events import OnEvent, ignore
from protoquant.data.config import PrepareConfig, TableConfig
from protoquant.data.parts.points_file import read_points
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import ALIASES, SPLITS, SplitName, split_named
from protoquant.data.table_file import load_columns, load_table, relative_paths, require_table, row_number


def read(root: Path, *, config: PrepareConfig, on_event: OnEvent = ignore, **_: object) -> Listing:
    """List the images that a table names.

    Spaces around labels and split names are dropped. Images that the table does not name are skipped; a path that is in
    the table but not on disk is reported later, by name.

    Args:
        root: The folder that holds the table and, below it, the images.
        config: ``table`` names the file, its columns, and perhaps a second table with the points of parts.
        on_event: Receives a message if some images have no points.

    Returns:
        The images.

    Raises:
        DataError: The folder, the table or a column is missing, there is no row, a cell is empty, a path leaves the
            folder or is in two rows, or a split is not train, validation or test. A point has an image that the table
            does not name, no number as its place, or stands there twice.
    """
    names = config.table or TableConfig()
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        hint = "give its folder, and its name as prepare.table.file" if root.is_file() else "correct it"
        raise DataError(f"prepare.root must be the folder of the table; {root} {found}; {hint} (params.yaml)")
    source = root / names.file
    require_table(source, "prepare.table.file")
    keys = {names.path: "prepare.table.path", names.label: "prepare.table.label"}
    if names.split in load_table(source, names.separator).columns or names.split != TableConfig().split:
        keys[names.split] = "prepare.table.split"
    columns = load_columns(source, keys, names.separator)
    if not columns[names.path]:
        raise DataError(f"{source} has no row below its header; write one for each image")
    frame = pd.DataFrame({"path": _paths(columns[names.path], source), "class_name": columns[names.label]})
    frame["split"] = _splits(columns[names.split], source) if names.split in columns else None
    parts = None
    if names.parts is not None:
        parts = read_points(root / names.parts, list(frame["path"]), on_event, names.separator)
    return Listing(frame, root, parts=parts)


def _paths(cells: Sequence[str], source: Path) -> list[str]:
    """Relative POSIX paths, each once."""
    first: dict[str, int] = {}
    for index, (cell, path) in enumerate(zip(cells, relative_paths(cells, source), strict=True)):
        if path in first:
            raise DataError(
                f"{source}, row {row_number(index, source)}: {cell!r} stands in row {row_number(first[path], source)} "
                f"already; keep one of the rows"
            )
        first[path] = index
    return list(first)


def _splits(cells: Iterable[str], source: Path) -> list[SplitName]:
    splits: list[SplitName] = []
    for index, cell in enumerate(cells):
        split = split_named(cell)
        if split is None:
            near = suggest(cell.lower(), ALIASES)
            where = f"{source}, row {row_number(index, source)}"
            raise DataError(f"{where}: a split must be one of {', '.join(SPLITS)}, got {cell!r}{near}")
        splits.append(split)
    return splits
