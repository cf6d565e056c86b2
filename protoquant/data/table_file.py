"""Reads tables that users write, CSV or parquet, with errors that number rows as an editor does."""

import csv
import json
import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath

import pandas as pd
import pyarrow as pa

from protoquant.core.errors import DataError, one_line, suggest

SEPARATORS = (",", ";", "\t", "|")
"""What may stand between two cells of a CSV file."""
_SEPARATOR = "prepare.table.separator"


def load_columns(
    source: Path,
    wanted: Mapping[str, str | None],
    separator: str = ",",
    separator_key: str | None = _SEPARATOR,
) -> dict[str, list[str]]:
    """Read columns of a table as text, without spaces around it.

    Args:
        source: A UTF-8 file or a parquet file that exists.
        wanted: The columns, each with the key of params.yaml that names it, if one does.
        separator: What stands between two cells of a CSV file.
        separator_key: The key of params.yaml that sets it, if one does.

    Raises:
        DataError: The file cannot be read, a column is missing or there twice, or a cell is empty.
    """
    table = load_table(source, separator, separator_key)
    names = list(map(str, table.columns))
    for column, key in wanted.items():
        if column not in names:
            raise DataError(_no_column(source, column, key, names, (separator, separator_key)))
        if names.count(column) > 1:
            raise DataError(f"{source} has {names.count(column)} columns called {column!r}; rename all but one")
    return {column: _texts(table[column], column, source) for column in wanted}


def _no_column(source: Path, column: str, key: str | None, names: list[str], separator: tuple[str, str | None]) -> str:
    """Why a column is not found, and the key that mends it."""
    if len(names) == 1 and source.suffix == ".csv" and (hint := _other_separator(names[0], *separator)):
        return f"{source} has no column {column!r}: {hint}"
    hint = f"; if another column holds it, set {key} (params.yaml)" if key else ""
    return f"{source} has no column {column!r}{suggest(column, names)}; its columns: {', '.join(names)}{hint}"


def _other_separator(header: str, separator: str, key: str | None) -> str:
    """What to set if the only cell of a header holds another separator; empty if it does not."""
    other = next((one for one in SEPARATORS if one != separator and one in header), None)
    setting = f"set {key}: {json.dumps(other)} (params.yaml)" if key else f"write {separator!r} there"
    return f"its cells seem to be separated by {other!r}; {setting}" if other else ""


def load_table(source: Path, separator: str = ",", separator_key: str | None = _SEPARATOR) -> pd.DataFrame:
    """Read a whole table; the cells of a CSV file are text.

    Raises:
        DataError: The file cannot be read.
    """
    parquet = source.suffix == ".parquet"
    try:
        return pd.read_parquet(source) if parquet else _load_csv(source, separator, separator_key)
    except (ValueError, csv.Error, OSError, pa.ArrowException) as error:
        said = one_line(error)
        kind = "parquet" if parquet else f"CSV in UTF-8 with cells separated by {separator!r}"
        raise DataError(f"{source} cannot be read as {kind} ({said}); write it again as that") from error


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


def relative_paths(cells: Iterable[str], source: Path) -> list[str]:
    """Relative POSIX paths in their shortest form, as they are spelt on disk.

    Where there is no file of that very name, backslashes are read as slashes, and characters that Unicode stores in two
    ways (é as one or as two) as the disk has them.

    Args:
        cells: The paths as written, one for each row.
        source: The table; paths are relative to its folder.

    Raises:
        DataError: A path is absolute or leaves the folder.
    """
    folder, spellings = source.parent, _Spellings()
    paths = []
    for index, cell in enumerate(cells):
        path = posixpath.normpath(cell if "\\" not in cell or _exists(folder / cell) else cell.replace("\\", "/"))
        if path.startswith(("/", "../")) or path in {".", ".."} or PureWindowsPath(cell).drive or "\0" in cell:
            where = f"{source}, row {row_number(index, source)}"
            raise DataError(f"{where}: paths must be relative and stay inside {folder}, got {cell!r}; correct it")
        paths.append(path if path.isascii() or _exists(folder / path) else spellings.on_disk(path, folder))
    return paths


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False


class _Spellings:
    """The names in folders by their normal form, each folder listed once."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def on_disk(self, path: str, folder: Path) -> str:
        """The path of a file whose name is the same text in another normal form; without one, the path itself."""
        place = folder
        for part in path.split("/"):
            if place not in self._names:
                inner = sorted(one.name for one in place.iterdir()) if place.is_dir() else []
                self._names[place] = {unicodedata.normalize("NFC", name): name for name in inner}
            found = self._names[place].get(unicodedata.normalize("NFC", part))
            if found is None:
                return path
            place /= found
        return place.relative_to(folder).as_posix()


def _load_csv(source: Path, separator: str, separator_key: str | None) -> pd.DataFrame:
    """Read all cells as text, so that a class may be called ``NA`` or ``007``; empty lines are skipped."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, delimiter=separator, strict=True) if row] or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            hint = _other_separator(header[0], separator, separator_key) if len(header) == 1 else ""
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}{hint and f'; {hint}'}")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _texts(column: "pd.Series[str]", name: str, source: Path) -> list[str]:
    texts = ["" if pd.isna(cell) else str(cell).strip() for cell in column]
    if "" in texts:
        raise DataError(f"{source}: column {name!r} is empty in row {row_number(texts.index(''), source)}; fill it")
    return texts
