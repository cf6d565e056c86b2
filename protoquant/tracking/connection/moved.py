"""Follows a project that was moved: MLflow's database names the files beside it by absolute addresses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

FILES = "mlruns"
"""Folder of the files beside a database."""
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow 3 with addresses of files; what another version lacks is passed over."""


def place_of(address: str, files: Path) -> Path | None:
    """The folder of an address; below the folder of files where it is, if that lay elsewhere once.

    Args:
        address: A ``file:`` address.
        files: The folder of the files beside the database.

    Returns:
        The folder, which may be missing; None for another kind of address.
    """
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc:
        return None
    path = Path(url2pathname(parts.path))
    former = _former(path, files)
    if former is None or former.exists():
        return path
    return files / path.relative_to(former)


def follow_move(database: Path, files: Path) -> int:
    """Rewrite the addresses of files that lie beside the database now, so that MLflow finds them.

    Where their former folder still exists the project was copied, and where none of them lies here they are elsewhere;
    then the addresses stay.

    Args:
        database: The SQLite file of MLflow.
        files: The folder of the files beside it.

    Returns:
        Number of addresses that were changed.
    """
    with closing(sqlite3.connect(database)) as tables, tables:
        held = [(table, column, text) for table, column in _ADDRESSES for text in _texts(tables, table, column)]
        moved = {text: place for _, _, text in held if (place := place_of(text, files)) and place.as_uri() != text}
        if not any(place != files and place.is_relative_to(files) and place.exists() for place in moved.values()):
            return 0
        return sum(
            tables.execute(
                f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 - the names are our own
                (moved[text].as_uri(), text),
            ).rowcount
            for table, column, text in held
            if text in moved and moved[text].is_relative_to(files)
        )


def _texts(tables: sqlite3.Connection, table: str, column: str) -> list[str]:
    """The addresses of files in a column, each once; none if there is no such column."""
    if column not in {name for _, name, *_ in tables.execute(f"PRAGMA table_info({table})")}:
        return []
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:%'"  # noqa: S608 - the names are our own
    return [text for (text,) in tables.execute(query)]


def _former(path: Path, files: Path) -> Path | None:
    """The folder of that name above a path, if it is another."""
    if path == files or path.is_relative_to(files):
        return None
    return next((one for one in (path, *path.parents) if one.name == files.name), None)
