"""Reads tables that users write, CSV or parquet, with errors that number rows as an editor does."""

import csv
import posixpath
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

import pandas as pd
import pyarrow as pa

from protoquant.core.errors import DataError, one_line, suggest


def load_columns(source: Path, wanted: Iterable[str]) -> dict[str, list[str]]:
    """Read columns of a table as text, without spaces around it.

    Args:
        source: A comma-separated UTF-8 file or a parquet file that exists.
        wanted: The columns.

    Raises:
        DataError: The file cannot be read, a column is missing, or a cell is empty.
    """
    table = load_table(source)
    for column in wanted:
        if column not in table.columns:
            near = suggest(column, table.columns)
            raise DataError(f"{source} has no column {column!r}{near}; its columns: {', '.join(table.columns)}")
    return {column: _texts(table[column], column, source) for column in wanted}


def load_table(source: Path) -> pd.DataFrame:
    """Read a whole table; the cells of a CSV file are text.

    Raises:
        DataError: The file cannot be read.
    """
    kind = "parquet" if source.suffix == ".parquet" else "comma-separated UTF-8"
    try:
        return pd.read_parquet(source) if source.suffix == ".parquet" else _load_csv(source)
    except (ValueError, csv.Error, OSError, pa.ArrowException) as error:
        said = one_line(error)
        raise DataError(f"{source} cannot be read as {kind} ({said}); write it again") from error


def require_table(source: Path, key: str) -> None:
    """Check that a table is there.

    Args:
        source: The file.
        key: The key of params.yaml that names it.

    Raises:
        DataError: There is no such file; the error lists the tables of its folder.
    """
    if not source.is_file():
        there = sorted(path.name for path in source.parent.iterdir() if path.suffix in {".csv", ".parquet"})
        hint = f"tables there: {', '.join(there)}" if there else "there is no .csv or .parquet file in it"
        raise DataError(f"no table {source.name!r} in {source.parent}; {hint}; set {key} (params.yaml)")


def row_number(index: int, source: Path) -> int:
    """Number a row as an editor does: a CSV file has its header in row 1."""
    return index + (2 if source.suffix == ".csv" else 1)


def relative_path(cell: str, where: str, folder: Path) -> str:
    """A relative POSIX path in its shortest form.

    Args:
        cell: The path as written.
        where: Table and row, for errors.
        folder: The folder that the path must stay in.

    Raises:
        DataError: The path is absolute or leaves the folder.
    """
    path = posixpath.normpath(cell)
    if path.startswith(("/", "../")) or path in {".", ".."} or PureWindowsPath(cell).drive or "\0" in cell:
        raise DataError(f"{where}: paths must be relative and stay inside {folder}, got {cell!r}; correct it")
    return path


def _load_csv(source: Path) -> pd.DataFrame:
    """Read all cells as text, so that a class may be called ``NA`` or ``007``; empty lines are skipped."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _texts(column: "pd.Series[str]", name: str, source: Path) -> list[str]:
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in column]
    if "" in texts:
        raise DataError(f"{source}: column {name!r} is empty in row {row_number(texts.index(''), source)}; fill it")
    return texts
