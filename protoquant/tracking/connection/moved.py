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
    """The folder of an address; below the folder of files where it is there and no longer in its former place.

    Args:
        address: A ``file:`` address.
        files: The folder of the files beside the database.

    Returns:
        The folder, which may be missing; None for another kind of address.
    """
    path = _path_of(address)
    former = None if path is None else _former(path, files)
    if path is None or former is None or path.exists():
        return path
    now = files / path.relative_to(former)
    return now if now.exists() else path


def follow_move(database: Path, files: Path) -> int:
    """Rewrite the addresses of files that lie beside the database now, so that MLflow finds them.

    A folder counts as moved if something below it is no longer there and is here; all addresses below it then follow.

    Args:
        database: The SQLite file of MLflow.
        files: The folder of the files beside it.

    Returns:
        Number of addresses that were changed; none if the database cannot be read or written, which MLflow says.
    """
    try:
        with closing(sqlite3.connect(database)) as tables, tables:
            held = [(table, column, text) for table, column in _ADDRESSES for text in _texts(tables, table, column)]
            paths = {text: path for _, _, text in held if (path := _path_of(text))}
            changed = [path for text, path in paths.items() if place_of(text, files) != path]
            moved = {former for path in changed if (former := _former(path, files)) != path}
            return sum(
                tables.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 - the names are our own
                    ((files / paths[text].relative_to(former)).as_uri(), text),
                ).rowcount
                for table, column, text in held
                if text in paths and (former := _former(paths[text], files)) in moved and former
            )
    except sqlite3.Error:
        return 0


def _path_of(address: str) -> Path | None:
    """The path of a ``file:`` address of this machine; None for another."""
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" and not parts.netloc else None


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
