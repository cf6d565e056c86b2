"""A table of image paths and class names, with or without splits, beside the images."""

import csv
import posixpath
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

import pandas as pd
import pyarrow as pa

from protoquant.core.errors import DataError, one_line, suggest
from protoquant.data.config import PrepareConfig, TableConfig
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import ALIASES, SPLITS, SplitName


def read(root: Path, *, config: PrepareConfig, **_: object) -> Listing:
    """List the images that a table names.

    Spaces around labels and split names are dropped. Images that the table does not name are skipped; a path that is in
    the table but not on disk is reported later, by name.

    Args:
        root: The folder that holds the table and, below it, the images.
        config: ``table`` names the file and its columns.

    Returns:
        The images.

    Raises:
        DataError: The folder, the table or a column is missing, a cell is empty, a path leaves the folder or is in two
            rows, or a split is not train, validation or test.
    """
    names = config.table or TableConfig()
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        hint = "give its folder, and its name as prepare.table.file" if root.is_file() else "correct it"
        raise DataError(f"prepare.root must be the folder of the table; {root} {found}; {hint} (params.yaml)")
    source = root / names.file
    table = _load(source, root)
    has_split = names.split in table.columns or names.split != TableConfig().split
    wanted = [names.path, names.label, *([names.split] if has_split else [])]
    for column in wanted:
        if column not in table.columns:
            near = suggest(column, table.columns)
            raise DataError(f"{source} has no column {column!r}{near}; its columns: {', '.join(table.columns)}")
    columns = [_texts(table[column], column, source) for column in wanted]
    frame = pd.DataFrame({"path": _paths(columns[0], source), "class_name": columns[1]})
    frame["split"] = _splits(columns[2], source) if has_split else None
    return Listing(frame, root)


def _load(source: Path, root: Path) -> pd.DataFrame:
    if not source.is_file():
        there = sorted(path.name for path in root.iterdir() if path.suffix in {".csv", ".parquet"})
        hint = f"tables there: {', '.join(there)}" if there else "there is no .csv or .parquet file in it"
        raise DataError(f"no table {source.name!r} in {root}; {hint}; set prepare.table.file (params.yaml)")
    kind = "parquet" if source.suffix == ".parquet" else "comma-separated UTF-8"
    try:
        return pd.read_parquet(source) if source.suffix == ".parquet" else _load_csv(source)
    except (ValueError, csv.Error, OSError, pa.ArrowException) as error:
        said = one_line(error)
        raise DataError(f"{source} cannot be read as {kind} ({said}); write it again") from error


def _load_csv(source: Path) -> pd.DataFrame:
    """Read all cells as text, so that a class may be called ``NA`` or ``007``; empty lines are skipped."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _texts(column: "pd.Series[str]", name: str, source: Path) -> list[str]:
    """The cells as text; a cell must not be empty."""
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in column]
    if "" in texts:
        raise DataError(f"{source}: column {name!r} is empty in row {_row(texts.index(''), source)}; fill it")
    return texts


def _row(index: int, source: Path) -> int:
    """Number a row as an editor does: a CSV file has its header in row 1."""
    return index + (2 if source.suffix == ".csv" else 1)


def _paths(cells: Iterable[str], source: Path) -> list[str]:
    """Relative POSIX paths in their shortest form, each once."""
    first: dict[str, int] = {}
    for index, cell in enumerate(cells):
        path = posixpath.normpath(cell)
        where = f"{source}, row {_row(index, source)}"
        if path.startswith(("/", "../")) or path in {".", ".."} or PureWindowsPath(cell).drive or "\0" in cell:
            raise DataError(
                f"{where}: paths must be relative and stay inside {source.parent}, got {cell!r}; correct it"
            )
        if path in first:
            raise DataError(
                f"{where}: {cell!r} stands in row {_row(first[path], source)} already; keep one of the rows"
            )
        first[path] = index
    return list(first)


def _splits(cells: Iterable[str], source: Path) -> list[SplitName]:
    splits: list[SplitName] = []
    for index, cell in enumerate(cells):
        if cell.lower() not in ALIASES:
            near = suggest(cell.lower(), ALIASES)
            where = f"{source}, row {_row(index, source)}"
            raise DataError(f"{where}: a split must be one of {', '.join(SPLITS)}, got {cell!r}{near}")
        splits.append(ALIASES[cell.lower()])
    return splits
