import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from protoquant.tracking.connection.moved import follow_move, place_of


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Addresses of a project that lay in /old/my birds, one of another store, and one run whose files are beside."""
    (tmp_path / "mlruns" / "r1").mkdir(parents=True)
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute("CREATE TABLE experiments (artifact_location TEXT)")
        tables.execute("CREATE TABLE runs (artifact_uri TEXT)")
        tables.execute("INSERT INTO experiments VALUES ('file:///old/my%20birds/mlruns'), ('s3://bucket/mlruns')")
        tables.execute("INSERT INTO runs VALUES ('file:///old/my%20birds/mlruns/r1'), (NULL)")
    return file


def addresses(file: Path) -> list[str | None]:
    with closing(sqlite3.connect(file)) as tables:
        query = "SELECT artifact_location FROM experiments UNION ALL SELECT artifact_uri FROM runs"
        return [text for (text,) in tables.execute(query)]


def test_addresses_follow_the_files(database: Path) -> None:
    files = database.parent / "mlruns"
    assert follow_move(database, files) == 2
    assert addresses(database) == [files.as_uri(), "s3://bucket/mlruns", f"{files.as_uri()}/r1", None]
    assert follow_move(database, files) == 0


def test_addresses_stay_where_the_files_are_elsewhere(database: Path) -> None:
    before = addresses(database)
    (database.parent / "mlruns" / "r1").rmdir()
    assert follow_move(database, database.parent / "mlruns") == 0
    assert addresses(database) == before


def test_a_copy_keeps_to_the_files_of_its_original(tmp_path: Path) -> None:
    (tmp_path / "a" / "mlruns" / "r1").mkdir(parents=True)
    (tmp_path / "b" / "mlruns" / "r1").mkdir(parents=True)
    original = tmp_path / "a" / "mlruns" / "r1"
    assert place_of(original.as_uri(), tmp_path / "b" / "mlruns") == original
    original.rmdir()
    original.parent.rmdir()
    assert place_of(original.as_uri(), tmp_path / "b" / "mlruns") == tmp_path / "b" / "mlruns" / "r1"
    assert place_of("s3://bucket/mlruns/r1", tmp_path) is None
    assert place_of("file://host/mlruns/r1", tmp_path) is None
